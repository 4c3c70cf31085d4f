"""Loads the settings of a command, and configures its log by them."""

from bot.monitoring import logs
from bot.settings import Settings


def load_settings() -> Settings:
    """Load the settings, and configure the log by them. Raises SettingsError."""
    settings = Settings.load()
    logs.configure(settings.log_level, settings.log_format, settings.secrets())
    return settings
