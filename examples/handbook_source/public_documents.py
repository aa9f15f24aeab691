"""What passengers read: the charter (PDF), the fares policy (DOCX) and the booking questions (HTML)."""

from __future__ import annotations

from handbook_source.blocks import Bullets, Document, Heading, PageBreak, Table, Text

PASSENGER_CHARTER = Document(
    name="passenger-charter.pdf",
    title="Passenger Charter",
    subtitle="What you can expect from us, from 1 March 2027",
    blocks=(
        Heading("Punctuality and delay"),
        Text(
            "We count a crossing as punctual when it arrives no more than seven minutes late. In the last "
            "year 93.6 per cent of our crossings were punctual, and we publish the figure for each route "
            "on the first Friday of the month."
        ),
        Table(
            ("Delay at arrival", "We pay back"),
            (
                ("30 to 59 minutes", "25 per cent of the single fare"),
                ("60 to 119 minutes", "60 per cent of the single fare"),
                ("120 minutes or more", "the whole single fare"),
            ),
        ),
        Text(
            "Ask for the money within 28 days, at any ticket window or in the booking portal. We pay "
            "within nine working days. Delays caused by weather above the safety limits are not "
            "compensated, but you may travel on the next crossing with room, without a fee."
        ),
        Heading("If we strand you overnight"),
        Text(
            "When the last crossing of the day is cancelled, we pay for a bed up to €84 a person and for a "
            "meal up to €19. Ask the Duty Desk for a voucher before you book anything yourself."
        ),
        PageBreak(),
        Heading("Travelling with a disability"),
        Text(
            "Tell us 36 hours before you travel if you need help with boarding. All landings except "
            "Little Hask have a level ramp. On the Whimbrel there are four wheelchair spaces, and the "
            "lift carries up to 320 kilograms. Assistance dogs travel free and everywhere."
        ),
        Heading("Lost property"),
        Text(
            "Things found on board are kept for 45 days at the blue kiosk in Port Averil, open daily from "
            "10:15 to 16:45. Collecting an item costs €4.20. After that time it is sold for the lifeboat "
            "fund on the quay, on the last Saturday of the month."
        ),
        Heading("Complaints"),
        Text(
            "Write to charter@corrowick-ferries.example or to Ropewalk House. We answer within twelve "
            "working days. If you are not content with the answer, the Islands Transport Arbiter decides; "
            "the decision binds us, and not you."
        ),
    ),
)

FARES_POLICY = Document(
    name="fares-policy.docx",
    title="Fares and Refunds Policy",
    subtitle="Adopted by the council on 12 November 2026",
    blocks=(
        Heading("Who pays what"),
        Text(
            "The fare of a crossing depends on the route, the season and the age of the traveller. High "
            "season runs from 15 June to 7 September. The amounts are in the workbook fares-2027.xlsx; "
            "this policy says how they are applied."
        ),
        Table(
            ("Group", "Reduction", "Proof"),
            (
                ("Children under 5", "free", "none"),
                ("Children from 5 to 15", "50 per cent", "none"),
                ("Students up to 27", "30 per cent", "student card"),
                ("Travellers from 67", "35 per cent", "identity card"),
                ("Islanders", "62 per cent", "Islander Card"),
                ("Volunteers of the lifeboat", "100 per cent", "yellow badge"),
            ),
        ),
        Heading("The Islander Card"),
        Text(
            "Anyone registered for at least 120 nights a year on one of the four islands may have the "
            "Islander Card. It costs €7.50, is valid for three years and cannot be lent. Applications are "
            "handled at the post office on each island."
        ),
        Heading("Groups"),
        Text(
            "Groups of twelve or more have a reduction of 18 per cent, and the leader travels free. Groups "
            "book by Wednesday noon for the following week."
        ),
        Heading("Refunds"),
        Bullets(
            (
                "Up to 48 hours before departure we refund 90 per cent.",
                "Up to 6 hours before departure we refund 55 per cent.",
                "Later there is no refund, except for a crossing that we cancel.",
                "Changing the date or the time costs €3.80, once for the whole booking.",
            )
        ),
        Heading("Animals and bicycles"),
        Text(
            "A dog travels for €2.60 and wears a lead on deck. Bicycles are free outside the high season "
            "and cost €3.10 in it. Horses are carried on the Greylag only, at most two on one crossing, "
            "and must be announced by telephone."
        ),
    ),
)

BOOKING_FAQ = Document(
    name="booking-faq.html",
    title="Booking: questions and answers",
    subtitle="Corrowick Sound Ferry Cooperative",
    blocks=(
        Heading("How early can I book?", 2),
        Text(
            "Bookings open 110 days before departure, at 08:00. Foot passengers do not need a booking except "
            "for the Little Hask landing, where only 40 visitors a day are allowed ashore."
        ),
        Heading("When must I be at the quay?", 2),
        Text(
            "Cars check in at least 35 minutes before departure, lorries 55 minutes and foot passengers ten "
            "minutes. The gate closes three minutes before the vessel leaves, even if you can still see it."
        ),
        Heading("How do I pay?", 2),
        Text(
            "By card, by bank transfer up to five days before departure, or in cash at the ticket "
            "windows. The portal keeps an unpaid booking for 25 minutes."
        ),
        Heading("Can I take my camper van?", 2),
        Text(
            "Yes, up to a length of 8.4 metres and a height of 3.9 metres. Gas bottles must be closed and "
            "sealed by the loading officer. Longer vehicles travel as freight."
        ),
        Heading("I lost my booking number. What now?", 2),
        Text(
            "Booking numbers begin with the letters CSF and have seven digits. Send the name and the date to "
            "the booking desk, or ring 0456 22 300 between 07:00 and 19:30. The number is never given out to "
            "anybody but the person who booked."
        ),
        Heading("Which crossings accept the day ticket?", 2),
        Bullets(
            (
                "All crossings to Ostrel and Fennay.",
                "Crossings to Brandersay from Monday to Thursday.",
                "No crossings to Little Hask.",
            )
        ),
    ),
)
