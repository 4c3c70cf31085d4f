"""Access: grants come in, and the fold of all grants of a user and type goes out. It knows no payments.

In reading order:

- fold.py: the pure function from grants to the time that they cover
- service.py: grants, revocations, and questions about access, on the caller's transaction
- standings.py: the rows of `entitlements`, written with the grants
- contradictions.py: another grant under the same source and type
- by_hand.py: grants and revocations by an admin
- unexplained.py: rows of `entitlements` that no grant explains
- errors.py: the errors of access
"""

from entitlements.service import EntitlementService as EntitlementService
