"""The desk's lock: of all processes on one database, one at a time polls Telegram.

In comes `DATABASE_URL`, out goes the lock in our hands, or the session that holds it. In reading order:

- by_address.py: what the program asks of the lock, and the choice between the two locks below
- file_lock.py: the lock file of a SQLite database
- advisory_lock.py: PostgreSQL's advisory lock, with standing by and taking over
- holder.py: the lock's key, and the session that holds it
- proof.py: the proof that no pooler shares the lock with other sessions
"""

from db.lock.by_address import DeskLock as DeskLock
from db.lock.by_address import LockReport as LockReport
from db.lock.by_address import desk_lock as desk_lock
from db.lock.by_address import read_lock_report as read_lock_report
