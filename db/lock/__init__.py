"""The desk's lock: of the processes on one database it lets one poll Telegram at a time.

- advisory_lock.py: PostgreSQL's advisory lock, SQLite's lock file, and the choice between them by `DATABASE_URL`
- holder.py: the lock's key, and the session that holds it
- proof.py: the proof that no pooler shares the lock with others
"""

from db.lock.advisory_lock import DeskLock as DeskLock
from db.lock.advisory_lock import LockReport as LockReport
from db.lock.advisory_lock import desk_lock as desk_lock
from db.lock.advisory_lock import who_holds as who_holds
