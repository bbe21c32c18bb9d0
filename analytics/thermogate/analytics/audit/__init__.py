"""The audit log: every decision as published with what it was made of, append-only, hash-chained."""

from thermogate.analytics.audit.log import AuditLog
from thermogate.analytics.audit.recent import recent
from thermogate.analytics.audit.records import Entry, Record
from thermogate.analytics.audit.verify import Finding, Reader

__all__ = ["AuditLog", "Entry", "Finding", "Reader", "Record", "recent"]
