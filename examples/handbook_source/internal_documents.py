"""What colleagues read: maintenance (DOCX), helpdesk (HTML), checklist, galley (Markdown), notes (text)."""

from __future__ import annotations

from handbook_source.blocks import Bullets, Document, Heading, Table, Text

MAINTENANCE_PLAN = Document(
    name="whimbrel-maintenance-plan.docx",
    title="Maintenance Plan MV Whimbrel",
    subtitle="Engineering, revision 23, Hanne Szabo",
    blocks=(
        Heading("The vessel"),
        Text(
            "The Whimbrel has two main engines of the type Sorvik 8L-240 with 1,480 kilowatts each, a bow "
            "thruster of 260 kilowatts and a hydraulic bow ramp. She burns 312 litres of gas oil in an "
            "hour at service speed."
        ),
        Heading("Intervals"),
        Table(
            ("Item", "Interval", "Part number", "Store bin"),
            (
                ("Engine oil and oil filter", "every 425 hours", "SV-2207-K", "C-04"),
                ("Fuel filter, fine", "every 210 hours", "SV-1189-F", "C-06"),
                ("Raw-water pump impeller", "every 950 hours", "RP-77-31", "D-11"),
                ("Bow thruster gearbox oil", "every 1,900 hours", "none", "drum store"),
                ("Ramp hydraulic hoses", "every 26 months", "HH-940-12", "F-02"),
                ("Fire-door closers", "every 90 days", "FD-3", "A-15"),
            ),
        ),
        Heading("Dry dock"),
        Text(
            "The next docking is from 11 to 29 January 2028 at Kestle Yard. The hull is cleaned, the "
            "anodes are renewed and the class surveyor attends on the sixth day. During the docking the "
            "Greylag sails the Ostrel route with a reduced number of cars."
        ),
        Heading("Changing the oil"),
        Bullets(
            (
                "Run the engine until the oil has 60 degrees.",
                "Lock the starter and hang tag 8 on the panel.",
                "Drain 148 litres into the waste tank and write down the level.",
                "Change the filter, tighten it to 28 newton metres and fill up.",
                "Take a sample, label it with the running hours and send it to the laboratory in Port Averil.",
            ),
            numbered=True,
        ),
    ),
)

IT_HELPDESK = Document(
    name="it-helpdesk.html",
    title="IT helpdesk",
    subtitle="Wendell Ikeda and team, extension 4410",
    blocks=(
        Text(
            "The helpdesk is staffed from 06:30 to 18:00 on weekdays and from 08:00 to 13:00 on Saturdays. "
            "Outside these hours only failures of ticketing and radio are handled, through the Duty Desk."
        ),
        Heading("Passwords", 2),
        Text(
            "Passwords have at least 16 characters and are changed every 240 days. After six wrong "
            "attempts an account is locked for 20 minutes. Reset your own password at the terminal in the "
            "crew room with your identity card and your roster number."
        ),
        Heading("Wi-Fi", 2),
        Text(
            "Crew devices use the network CSF-Bosun, which needs a certificate from the helpdesk. Private "
            "phones use CSF-Guest; it is cut off after three hours."
        ),
        Heading("Ticket machines: error codes", 2),
        Table(
            ("Code", "Meaning", "What to do"),
            (
                ("E-12", "paper nearly empty", "change the roll at the next landing"),
                ("E-31", "no connection to the booking system", "switch to the blue block of paper tickets"),
                ("E-47", "card reader tampered with", "cover the machine and call 4410 at once"),
                ("E-58", "clock differs by more than two minutes", "restart with the side key"),
            ),
        ),
        Heading("Laptops", 2),
        Text(
            "A laptop is replaced after five years. Report theft within four hours, so that the disk can be "
            "wiped from afar. The self-insured part is €90."
        ),
    ),
)

CHECKLIST = Document(
    name="new-colleague-checklist.md",
    title="Checklist for new colleagues",
    subtitle="For the first month, kept by your mentor",
    blocks=(
        Heading("Before the first day", 2),
        Bullets(
            (
                "Send the medical certificate ENG-1C to the marine superintendent.",
                "Order the uniform with form U-3.",
                "Receive the roster number, six digits beginning with 7.",
            )
        ),
        Heading("First week", 2),
        Bullets(
            (
                "Collect the identity card on Monday at 07:45 in room 2.14 of Ropewalk House.",
                "Walk through the harbour with the induction team.",
                "Sign the key book for locker and crew room.",
                "Take part in one fire drill.",
            )
        ),
        Heading("First month", 2),
        Text(
            "The probation period is five months. Your mentor meets you on days 10, 30 and 100. The "
            "mentor is paid an allowance of €55 for each new colleague and gives it back if a meeting was "
            "left out."
        ),
        Heading("Whom to ask", 2),
        Table(
            ("Subject", "Person", "Extension"),
            (
                ("Roster", "Lucjan Ferreira", "4133"),
                ("Pay", "Noor Castellane", "4127"),
                ("Computer", "Wendell Ikeda", "4410"),
                ("Uniform", "Solveig Marchetti", "4152"),
            ),
        ),
    ),
)

GALLEY = Document(
    name="galley-and-cafe.md",
    title="Galley and café",
    subtitle="Mireille Okonjo, catering",
    blocks=(
        Text(
            "The café on the Whimbrel opens 20 minutes after departure and closes 15 minutes before arrival. "
            "On the Dunlin there is only the trolley."
        ),
        Heading("Prices", 2),
        Table(
            ("Item", "Passenger", "Staff"),
            (
                ("Coffee", "€2.70", "€0.80"),
                ("Fish soup Ostrel", "€8.90", "€4.20"),
                ("Seaweed scone", "€3.40", "€1.50"),
                ("Breakfast plate", "€11.20", "€5.60"),
            ),
        ),
        Heading("Food safety", 2),
        Text(
            "Hot food is kept above 68 degrees and thrown away after two and a half hours. The fridge "
            "book is filled in at 06:00, 13:00 and 20:00. If a fridge is warmer than 7 degrees, move the "
            "food to fridge B and call engineering."
        ),
        Heading("Allergens", 2),
        Text(
            "The fish soup contains celery, mustard and shellfish. The seaweed scone contains gluten and "
            "milk; since October 2026 it is baked without nuts."
        ),
        Heading("Suppliers", 2),
        Text(
            "Bread comes from the Tidewheel Bakery on Fennay before 05:15. Fish is bought from the "
            "Brandersay landing, and only from boats that carry the white pennant of the quota board."
        ),
    ),
)

DUTY_DESK_NOTES = Document(
    name="duty-desk-notes.txt",
    title="Duty Desk: how we keep the log",
    subtitle="Corrowick Control",
    blocks=(
        Text(
            "The log is kept in local time and never in UTC. A new page is begun at 04:00, not at midnight, "
            "because the last boat may still be at sea."
        ),
        Text(
            "Every call is written down with the vessel, the position and the persons on board. A vessel "
            "that has not reported for 40 minutes is called three times, two minutes apart. If it does "
            "not answer, wake the marine superintendent and then inform the Coastguard."
        ),
        Text(
            "Handover takes place at 05:30, 13:30 and 21:30 and lasts a quarter of an hour. The outgoing "
            "officer reads the open entries aloud. The sentence for the handover is: the sound is yours."
        ),
        Text(
            "The spare key of the fuel berth is in the safe, drawer 5. It is given only to Søren Bäckström, "
            "Zoë Nuñez or the engineer on call, against signature."
        ),
        Text("The tape of the radio is kept for 62 days. The police ask for it in writing, with a file number."),
    ),
)

GUESTHOUSE = Document(
    name="gaestehaus-seeschwalbe.txt",
    title="Gästehaus Seeschwalbe auf Ostrel: Hinweise für Gäste",
    subtitle="Ein Haus der Fährgenossenschaft",
    language="de",
    blocks=(
        Text(
            "Das Gästehaus Seeschwalbe liegt zehn Gehminuten vom Anleger Ostrel entfernt und hat elf "
            "Zimmer. Der Schlüssel hängt im Kasten neben der grünen Tür; den Code erhalten Sie am "
            "Anreisetag ab 14:20 Uhr per Nachricht."
        ),
        Text(
            "Ein Doppelzimmer kostet in der Hauptsaison 97 Euro je Nacht, in der übrigen Zeit 71 Euro. "
            "Mitglieder der Genossenschaft zahlen ein Fünftel weniger. Die Kurtaxe von 1,85 Euro je "
            "Person und Nacht wird vor Ort bar bezahlt."
        ),
        Text(
            "Das Frühstück gibt es von 7:10 bis 9:40 Uhr in der alten Segelmacherei. Wer das erste Schiff um "
            "6:35 Uhr nimmt, bestellt bis 18 Uhr am Vorabend ein Frühstückspaket."
        ),
        Text(
            "Eine Stornierung ist bis neun Tage vor der Anreise kostenlos. Danach berechnen wir die erste "
            "Nacht. Hunde sind nur in den Zimmern 3 und 4 erlaubt. Nach 22:30 Uhr ist Nachtruhe, denn die "
            "Lotsen schlafen im Erdgeschoss."
        ),
    ),
)
