"""What is kept of calls, in SQLite or PostgreSQL. Everybody else uses `Records`, and `Outbox` for webhooks.

records.py     Records: what may be written and asked; writing never waits, asking blocks the asking greenlet only
entries.py     the values that go in and come out
writer.py      the queue of what is to be written, one greenlet
statements.py  the SQL of writing and asking; queries.py, of calls as they are shown; search.py, of looking for them;
               statistics.py, of many; presence.py, of what workers tell each other of their live calls
spent.py       what may be done once, by all workers together
masking.py     card numbers blanked, and only what both databases can hold
outbox.py      webhooks delivered until they are taken
retention.py   what is too old is deleted
database.py    one native thread with one connection: the only place that blocks
schema.py      the tables; migrations/ how they came about; migrate.py brings a database up to date
"""
