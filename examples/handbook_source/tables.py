"""What is data, not prose: fares and fleet (XLSX), timetable (CSV), the induction slides (PPTX)."""

from __future__ import annotations

from handbook_source.blocks import Bullets, Deck, Records, Sheet, Slide, Table, Text, Workbook

FARES = Workbook(
    name="fares-2027.xlsx",
    title="Fares 2027",
    sheets=(
        Sheet(
            "Passengers",
            (
                ("Route", "Season", "Single fare (EUR)", "Return fare (EUR)", "Crossing (minutes)"),
                ("Port Averil - Ostrel", "low", 6.4, 11.5, 35),
                ("Port Averil - Ostrel", "high", 8.2, 14.8, 35),
                ("Port Averil - Fennay", "low", 9.1, 16.3, 55),
                ("Port Averil - Fennay", "high", 11.9, 21.4, 55),
                ("Port Averil - Brandersay", "low", 14.6, 26.2, 110),
                ("Port Averil - Brandersay", "high", 18.7, 33.6, 110),
                ("Fennay - Little Hask", "low", 5.3, 9.6, 25),
                ("Fennay - Little Hask", "high", 7.7, 13.9, 25),
            ),
        ),
        Sheet(
            "Vehicles",
            (
                ("Vehicle", "Ostrel (EUR)", "Fennay (EUR)", "Brandersay (EUR)", "Note"),
                ("Car up to 5 m", 24.5, 31.8, 47.2, "driver not included"),
                ("Car with trailer up to 10 m", 43.9, 56.4, 82.6, "unhitch on the Greylag"),
                ("Camper van up to 8.4 m", 38.3, 49.7, 73.1, "gas closed and sealed"),
                ("Motorcycle", 9.8, 12.6, 19.4, "lane 3"),
                ("Electric car up to 5 m", 22.1, 28.6, 42.5, "lanes 1 and 2"),
                ("Lorry, per metre", 13.7, 17.9, 26.3, "book as freight"),
            ),
        ),
        Sheet(
            "Passes",
            (
                ("Pass", "Price (EUR)", "Valid", "Routes"),
                ("Day ticket", 23.6, "one calendar day", "Ostrel, Fennay, Brandersay Mon-Thu"),
                ("Ten crossings", 58.9, "14 months", "Ostrel"),
                ("Monthly pass", 126.0, "30 days", "one route"),
                ("School pass", 34.0, "one term", "home island to Port Averil"),
                ("Sound pass", 412.0, "one year", "all routes"),
            ),
        ),
    ),
)

FLEET = Workbook(
    name="fleet-register.xlsx",
    title="Fleet register",
    sheets=(
        Sheet(
            "Vessels",
            (
                ("Vessel", "Call sign", "Built", "Passengers", "Cars", "Length (m)", "Draught (m)", "Knots"),
                ("Whimbrel", "ZQ7W", 2009, 212, 34, 58.6, 2.9, 14.5),
                ("Greylag", "ZQ7G", 1998, 148, 22, 46.2, 2.4, 12.0),
                ("Dunlin", "ZQ7D", 2016, 96, 0, 27.8, 1.3, 24.0),
                ("Turnstone", "ZQ7T", 2003, 12, 0, 13.4, 1.1, 18.5),
            ),
        ),
        Sheet(
            "Life-saving",
            (
                (
                    "Vessel",
                    "Lifejackets adult",
                    "Lifejackets child",
                    "Liferafts",
                    "Rescue boat",
                    "Next service",
                ),
                ("Whimbrel", 236, 54, 6, "Zodra R5", "2027-05-18"),
                ("Greylag", 170, 38, 4, "Zodra R5", "2027-09-02"),
                ("Dunlin", 110, 24, 3, "Zodra R4", "2027-04-27"),
                ("Turnstone", 16, 4, 1, "none", "2027-10-11"),
            ),
        ),
        Sheet(
            "Certificates",
            (
                ("Vessel", "Certificate", "Number", "Expires"),
                ("Whimbrel", "Passenger ship safety", "PS-20418", "2027-11-30"),
                ("Greylag", "Passenger ship safety", "PS-19733", "2027-08-15"),
                ("Dunlin", "High-speed craft", "HC-00862", "2028-02-09"),
                ("Turnstone", "Workboat code", "WB-51170", "2029-06-21"),
            ),
        ),
    ),
)

_OSTREL = "Port Averil - Ostrel"
_FENNAY = "Port Averil - Fennay"
_BRANDERSAY = "Port Averil - Brandersay"
_HASK = "Fennay - Little Hask"

TIMETABLE = Records(
    name="winter-timetable.csv",
    header=("sailing", "route", "departure", "arrival", "days", "vessel", "remark"),
    rows=(
        ("101", _OSTREL, "06:50", "07:25", "Mon-Sat", "Whimbrel", ""),
        ("103", _OSTREL, "09:10", "09:45", "daily", "Whimbrel", ""),
        ("105", _OSTREL, "12:25", "13:00", "daily", "Whimbrel", "dangerous goods on Tuesdays"),
        ("107", _OSTREL, "15:40", "16:15", "daily", "Whimbrel", ""),
        ("109", _OSTREL, "18:05", "18:40", "daily", "Whimbrel", ""),
        ("111", _OSTREL, "21:15", "21:50", "Fri-Sat", "Dunlin", "foot passengers only"),
        ("201", _FENNAY, "07:20", "08:15", "Mon-Fri", "Greylag", "school boat"),
        ("203", _FENNAY, "10:35", "11:30", "daily", "Greylag", ""),
        ("205", _FENNAY, "14:15", "15:10", "daily", "Greylag", "via Ostrel on request"),
        ("207", _FENNAY, "17:30", "18:25", "daily", "Greylag", ""),
        ("301", _BRANDERSAY, "08:05", "09:55", "Tue Thu Sat", "Dunlin", "tidal berth"),
        ("303", _BRANDERSAY, "13:45", "15:35", "Mon Wed Fri", "Dunlin", ""),
        ("305", _BRANDERSAY, "22:40", "00:30", "Sun", "Whimbrel", "night boat"),
        ("401", _HASK, "11:50", "12:15", "Wed Sat", "Turnstone", "landing permit needed"),
        ("403", _HASK, "15:20", "15:45", "Wed Sat", "Turnstone", "last return 16:05"),
    ),
)

INDUCTION = Deck(
    name="harbour-induction.pptx",
    title="Harbour induction",
    subtitle="Port Averil, Bram Achterberg",
    slides=(
        Slide(
            "Before you step on the quay",
            (
                Bullets(
                    (
                        "Yellow vest and helmet beyond the white line.",
                        "The speed limit on the quay is 9 km/h, for forklifts too.",
                        "Nobody stands between a moving ramp and a bollard.",
                        "The assembly point is the old weighbridge.",
                    )
                ),
            ),
        ),
        Slide(
            "Berths",
            (
                Table(
                    ("Berth", "Vessel", "Shore power", "Depth at low water"),
                    (
                        ("1", "Whimbrel", "400 V, 125 A", "4.1 m"),
                        ("2", "Greylag", "400 V, 63 A", "3.6 m"),
                        ("3", "Dunlin", "400 V, 63 A", "2.2 m"),
                        ("4", "Fuel and workboats", "none", "1.8 m"),
                    ),
                ),
            ),
        ),
        Slide(
            "Loading",
            (
                Bullets(
                    (
                        "The loading officer alone signals to drivers, with the green baton.",
                        "Heavy lorries stand amidships, axle load at most 11.5 tonnes.",
                        "Dangerous goods are declared 26 hours before departure on form DG-2.",
                        "Lashings are checked twice when the forecast is above 28 knots.",
                    )
                ),
            ),
        ),
        Slide(
            "Gates and keys",
            (
                Bullets(
                    (
                        "The code of the north gate changes on the first Monday of the month at 06:00.",
                        "The Duty Desk tells the new code in person only, never by telephone.",
                        "Keys of the crane are kept by the harbour foreman, Ottoline Brandt.",
                    )
                ),
            ),
        ),
        Slide(
            "If something spills",
            (
                Text("Stop the pump, close the scuppers, take the drum with the brown lid from berth 4."),
                Text("Every spill above five litres is reported to the harbour master within 15 minutes."),
            ),
        ),
    ),
)
