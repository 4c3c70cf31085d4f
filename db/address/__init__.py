"""The address of the database: `DATABASE_URL` comes in as text and goes out checked, as a file or as servers.

In reading order:

- server.py: one PostgreSQL server, its host and port, and the error of an address that the desk cannot use
- parameter_readers.py: the readers of single parameters behind the `?` of a PostgreSQL address
- parameters.py: all parameters of a PostgreSQL address
- database_url.py: the whole address, a SQLite file or PostgreSQL servers
"""

from db.address.database_url import Address as Address
from db.address.database_url import PostgresAddress as PostgresAddress
from db.address.database_url import SqliteAddress as SqliteAddress
from db.address.database_url import parse_database_url as parse_database_url
from db.address.server import AddressError as AddressError
from db.address.server import Server as Server
