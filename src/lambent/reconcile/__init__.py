"""From spec to status: Pending to Active, unused artifacts."""
