"""The audit table of all payments, and what is read out of it."""
