"""Sale: the catalog, the signed payload of an invoice, the terms ever offered, and the rule of who may buy what."""
