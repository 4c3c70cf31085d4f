"""Money: the catalog, the audit table, settlement and refunds. Knows channels, not chats."""
