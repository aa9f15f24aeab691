"""All documents of the handbook, in the order in which they are rendered."""

from __future__ import annotations

from handbook_source.blocks import Deck, Document, Records, Workbook
from handbook_source.internal_documents import (
    CHECKLIST,
    DUTY_DESK_NOTES,
    GALLEY,
    GUESTHOUSE,
    IT_HELPDESK,
    MAINTENANCE_PLAN,
)
from handbook_source.public_documents import BOOKING_FAQ, FARES_POLICY, PASSENGER_CHARTER
from handbook_source.safety_manual import SAFETY_MANUAL
from handbook_source.staff_handbook import STAFF_HANDBOOK
from handbook_source.tables import FARES, FLEET, INDUCTION, TIMETABLE

HANDBOOK: tuple[Document | Deck | Workbook | Records, ...] = (
    STAFF_HANDBOOK,
    SAFETY_MANUAL,
    PASSENGER_CHARTER,
    FARES_POLICY,
    MAINTENANCE_PLAN,
    INDUCTION,
    FARES,
    FLEET,
    BOOKING_FAQ,
    IT_HELPDESK,
    CHECKLIST,
    GALLEY,
    TIMETABLE,
    DUTY_DESK_NOTES,
    GUESTHOUSE,
)
