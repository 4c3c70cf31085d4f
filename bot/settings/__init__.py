"""The settings of the desk, from `.env` and the environment, read once and checked."""

from bot.settings.mistakes import SettingsError
from bot.settings.settings import Settings
from bot.settings.values import MESSAGES_PER_SECOND, TELEGRAM_API_URL, TELEGRAM_TEST_URL

__all__ = ["MESSAGES_PER_SECOND", "TELEGRAM_API_URL", "TELEGRAM_TEST_URL", "Settings", "SettingsError"]
