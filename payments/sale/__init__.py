"""Sale: the catalog, the signed payload of an invoice, the terms once offered, and the rule who may buy what."""
