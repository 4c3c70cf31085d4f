"""Payments: the catalog, the audit table, settlement and refunds. The package knows channels, and no chats."""
