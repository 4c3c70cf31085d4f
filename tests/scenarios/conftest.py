from tests.bot.handlers.conftest import chats

__all__ = ["chats"]
