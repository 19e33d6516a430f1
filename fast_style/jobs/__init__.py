"""Background jobs that survive anything: kept by DBOS in SQLite or PostgreSQL, done by workers.

The service enqueues and reads (`desk`), workers do the work (`worker`); what they share is a
database and a place for files (`store`). `worker_process` keeps the service's own worker alive.
"""
