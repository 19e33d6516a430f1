"""Background jobs that survive anything: kept by DBOS in SQLite or PostgreSQL, done by workers.

The service enqueues and reads (`client`), workers do the work (`worker`); what they share is a
database and a place for files (`storage.object_store`). `supervisor` keeps the service's own worker
alive.
"""
