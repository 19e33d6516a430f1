"""Background jobs that survive crashes, stored by DBOS in SQLite or PostgreSQL.

The service submits and reads jobs (`client`), workers do them (`worker`); they share a database and
an object store (`storage.object_store`). `supervisor` keeps the service's own worker running.
"""
