"""The address of the database: `DATABASE_URL` comes in as text, and goes out as an address that is checked.

- server.py: one PostgreSQL server, its host and port, and the error that says what is wrong with an address
- parameters.py: the parameters behind the `?` of a PostgreSQL address
- database_url.py: the whole address, a SQLite file or PostgreSQL servers
"""

from db.address.database_url import Address as Address
from db.address.database_url import PostgresAddress as PostgresAddress
from db.address.database_url import SqliteAddress as SqliteAddress
from db.address.database_url import parse as parse
from db.address.server import AddressError as AddressError
from db.address.server import Server as Server
