from tests.support.desk_fixtures import books, bot, desk, server, telegram

__all__ = ["books", "bot", "desk", "server", "telegram"]
