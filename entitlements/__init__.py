"""Access: grants and what they add up to. Knows no payments."""

from entitlements.service import EntitlementService as EntitlementService
