from tests.support.desk_fixtures import bot, desk, handler, server, telegram, worker

__all__ = ["bot", "desk", "handler", "server", "telegram", "worker"]
