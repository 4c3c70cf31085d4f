"""The settings of the desk: `.env` and the environment, read once and checked."""

from bot.settings.settings import TELEGRAM_API_URL, TELEGRAM_TEST_URL, Settings, SettingsError

__all__ = ["TELEGRAM_API_URL", "TELEGRAM_TEST_URL", "Settings", "SettingsError"]
