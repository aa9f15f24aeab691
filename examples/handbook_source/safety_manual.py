"""safety-manual.pdf: five pages; the tables of alarm codes and weather limits stand in it."""

from __future__ import annotations

from handbook_source.blocks import Bullets, Document, Heading, PageBreak, Table, Text

SAFETY_MANUAL = Document(
    name="safety-manual.pdf",
    title="Safety and Emergency Manual",
    subtitle="Issue 12, owner: Perpetua Lindahl, safety officer",
    blocks=(
        Heading("1. Purpose and alarm codes"),
        Text(
            "This manual applies to every vessel and landing of the Corrowick Sound Ferry Cooperative. "
            "The safety officer reviews it every 14 months and after each accident. A copy lies on every "
            "bridge in the red folder; the folder must not leave the bridge."
        ),
        Text(
            "Crews use bird names on the public address system, so that passengers are not alarmed before "
            "the crew is in place. Say the code twice, then the location."
        ),
        Table(
            ("Code", "Meaning", "First action"),
            (
                ("Code Gannet", "person overboard", "throw the nearest ring and point"),
                ("Code Heron", "fire", "close the fire doors, ready hose 1"),
                ("Code Osprey", "medical emergency", "bring bag M2 from the bridge"),
                ("Code Curlew", "lost child", "stop boarding, watch both ramps"),
                ("Code Skua", "security threat", "lock the bridge, call channel 67"),
            ),
        ),
        PageBreak(),
        Heading("2. Muster and evacuation"),
        Text(
            "The general emergency signal is seven short blasts and one long blast. Passengers on the "
            "Whimbrel muster at station A in the forward lounge and station B on the aft car deck. On the "
            "Dunlin there is one station, under the canopy at the stern."
        ),
        Text(
            "The evacuation of a full vessel must be complete within 17 minutes of the signal. The purser "
            "counts at the station with the green tally and reports the number to the bridge. Lifejackets "
            "for children hang on the starboard side and are orange with a white collar."
        ),
        Heading("Drills", 2),
        Text(
            "Each crew holds an abandon-ship drill every 21 days and a fire drill every 14 days. A crew that "
            "has changed by more than a quarter drills within 24 hours of sailing. Drills are written into "
            "book D-6."
        ),
        PageBreak(),
        Heading("3. Person overboard and fire"),
        Heading("Person overboard", 2),
        Bullets(
            (
                "Shout Code Gannet twice and throw the nearest ring.",
                "One person points at the casualty and does nothing else.",
                "The bridge puts the helm over to the casualty's side and marks the position.",
                "The rescue boat is launched when the speed is below 4 knots.",
                "After eight minutes without sight, call the Coastguard at Port Averil on channel 16.",
            ),
            numbered=True,
        ),
        Heading("Fire", 2),
        Text(
            "The first person to see smoke breaks the nearest call point and leaves the space. The engine "
            "room is flooded with carbon dioxide only after the chief engineer has counted everybody out; "
            "the release cabinet opens with key 19, which hangs on the bridge."
        ),
        Text(
            "Electric cars are carried on lanes 1 and 2 only, beside the drencher. A burning battery is "
            "cooled with sea water for at least 75 minutes, and the vessel does not enter harbour before "
            "the harbour master agrees."
        ),
        PageBreak(),
        Heading("4. Weather limits"),
        Text(
            "The master may always stay in harbour. Nobody may order a master to sail. Above the limits "
            "of the table no vessel leaves, whoever is waiting."
        ),
        Table(
            ("Vessel", "Mean wind", "Gusts", "Wave height"),
            (
                ("Whimbrel", "34 knots", "46 knots", "2.7 m"),
                ("Greylag", "31 knots", "42 knots", "2.3 m"),
                ("Dunlin", "25 knots", "33 knots", "1.6 m"),
                ("Turnstone", "19 knots", "26 knots", "1.1 m"),
            ),
        ),
        Text(
            "A cancellation because of weather is announced at least 75 minutes before departure. In fog "
            "with less than 400 metres of sight the speed is 6 knots and a lookout stands at the bow. The "
            "approach to Little Hask is closed when the swell comes from between 210 and 255 degrees, "
            "because the rock called the Anvil breaks across the channel."
        ),
        PageBreak(),
        Heading("5. Radio and reporting"),
        Text(
            "The working channel between vessels and the Duty Desk is VHF channel 74. Position reports are "
            "made at the Saddle Buoy and at the Fennay leading lights. The call sign of the Duty Desk is "
            "Corrowick Control."
        ),
        Heading("Reports", 2),
        Text(
            "Accidents with injury are reported on form S-31 within 24 hours. Near misses are reported on "
            "form S-32 within 72 hours and may be anonymous. The safety officer answers every near-miss "
            "report within three weeks and publishes the answers in the bulletin Plain Sailing."
        ),
        Text(
            "The data recorder of a vessel is saved after every accident by pressing SAVE for five "
            "seconds. It keeps twelve hours; without saving, the recording is lost."
        ),
    ),
)
