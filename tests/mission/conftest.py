from tests.support.desk_fixtures import bot, desk, handler, parts, server, telegram, worker

__all__ = ["bot", "desk", "handler", "parts", "server", "telegram", "worker"]
