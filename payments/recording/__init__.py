"""An update becomes rows: a narrow model reads what bears money, and the recorder writes it before Telegram is told."""
