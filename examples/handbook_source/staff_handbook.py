"""staff-handbook.pdf: six pages, one subject a page."""

from __future__ import annotations

from handbook_source.blocks import Bullets, Document, Heading, PageBreak, Table, Text

STAFF_HANDBOOK = Document(
    name="staff-handbook.pdf",
    title="Staff Handbook",
    subtitle="Edition 7, valid from 1 February 2027",
    blocks=(
        Heading("1. About the Cooperative"),
        Text(
            "The Corrowick Sound Ferry Cooperative links Port Averil with the islands of Ostrel, Fennay, "
            "Brandersay and Little Hask. Sixty-one households founded it in 1974, after the previous "
            "operator left the sound without a winter service. Today it belongs to 1,348 members, and "
            "every member has one vote, whatever the number of shares."
        ),
        Text(
            "The head office is Ropewalk House, 3 Ropewalk Quay, Port Averil. The managing director is "
            "Ingrid Vaszary. Tomasz Oduya is marine superintendent and answers for all vessels and crews. "
            "Bram Achterberg runs the harbours, and Hanne Szabo leads engineering."
        ),
        Heading("How decisions are made", 2),
        Text(
            "The members elect a council of nine for three years. The council meets on the second "
            "Thursday of every month in the net loft on Fennay. Minutes are posted within eight days on "
            "the notice boards of all five landings."
        ),
        Heading("Becoming a member as an employee", 2),
        Text(
            "Employees may join after 14 months of service. One share costs €180 and may be paid in six "
            "instalments of €30 through the payroll. Dafydd Quill, the member secretary, keeps the register."
        ),
        PageBreak(),
        Heading("2. Working time and rosters"),
        Text(
            "The standard week is 37 hours, averaged over a roster period of eight weeks. Rosters are "
            "published on the RosterBoard at least 19 days before the period begins. A swap between two "
            "colleagues is allowed up to 48 hours before the shift, provided both hold the certificates "
            "for the post."
        ),
        Text(
            "Between two shifts there are at least eleven hours of rest. On the night boat to Brandersay the "
            "rest is thirteen hours, because the crossing ends at a tidal berth and often runs late."
        ),
        Heading("Overtime and allowances", 2),
        Text(
            "Hours above 41 in one week are overtime and are paid at 1.6 times the hourly rate. Nobody "
            "works more than nine hours of overtime in a week. Overtime must be ordered by the duty "
            "master; staying on without an order is not paid."
        ),
        Table(
            ("Allowance", "Condition", "Amount"),
            (
                ("Early start", "shift begins before 05:40", "€8.35 a shift"),
                ("Night", "each hour between 23:00 and 05:00", "€4.10 an hour"),
                ("Split shift", "break of more than three hours", "€11.75 a shift"),
                ("Storm standby", "called in on an amber warning", "€38.00 a day"),
            ),
        ),
        PageBreak(),
        Heading("3. Leave and absence"),
        Text(
            "Full-time staff have 27 days of annual leave. Two days are added after every five years of "
            "service, up to 33 days. At most six unused days may be carried over, and they lapse on 30 April."
        ),
        Text(
            "Requests for leave in July and August are collected until 16 March and decided together by the "
            "end of that month. Outside the summer a request is answered within five working days."
        ),
        Heading("If you are ill", 2),
        Text(
            "Ring the Duty Desk on 0456 22 190 no later than 90 minutes before your shift begins. A text "
            "message is not enough. From the fourth day of absence we need a doctor's note."
        ),
        Heading("Family and bereavement", 2),
        Text(
            "Parental leave is 22 weeks on full pay for each parent and may be split into three blocks. "
            "After the death of a close relative you have five paid days; travel between islands for the "
            "funeral is free for you and your household."
        ),
        PageBreak(),
        Heading("4. Pay and expenses"),
        Text(
            "Wages are paid on the 24th of the month, or on the working day before. Questions about a "
            "payslip go to Noor Castellane in payroll, extension 4127, on weekdays between 09:30 and "
            "12:00."
        ),
        Heading("Claiming expenses", 2),
        Text(
            "Expenses are claimed in Ledgerline within 35 days of the purchase, with a photograph of the "
            "receipt. Claims above €350 need the approval of the head of department before the money is "
            "spent. A claim without a receipt is paid once a year at most and never above €20."
        ),
        Table(
            ("Expense", "Rate"),
            (
                ("Meals on a full day away", "€23.40"),
                ("Overnight stay without invoice", "€61.00"),
                ("Private car", "€0.41 per kilometre"),
                ("Bicycle between landings", "€0.17 per kilometre"),
            ),
        ),
        PageBreak(),
        Heading("5. Staff travel and uniform"),
        Text(
            "Apply for the staff pass with form T-14 at the harbour office. It covers 40 return crossings a "
            "year for you and for up to three named relatives together. Staff passes are not valid on the "
            "first three departures of a public holiday."
        ),
        Heading("Uniform", 2),
        Text(
            "The uniform is slate green and is ordered in the first week of employment. Deck boots are "
            "replaced every 18 months. A deposit of €45 is held for the foul-weather jacket and is returned "
            "with the last wage."
        ),
        Heading("Identity card", 2),
        Text(
            "Wear the identity card visibly on every vessel and quay. Report a lost card to the Duty Desk "
            "the same day. A replacement costs €12.50 and is ready at the harbour office after two "
            "working days."
        ),
        PageBreak(),
        Heading("6. Training and conduct"),
        Text(
            "Each employee has a training budget of €640 a year, which may be saved for up to three "
            "years. Sea survival is refreshed every four years in the pool at Brandersay. First aid is "
            "refreshed every two years and is held in Port Averil in November."
        ),
        Heading("Alcohol and phones", 2),
        Text(
            "The alcohol limit on duty is 0.0 per mille, for office staff as well. Private phones stay in "
            "the locker while a vessel is moving; masters carry the ship's phone."
        ),
        Heading("Grievances", 2),
        Bullets(
            (
                "Speak with your supervisor, who answers within ten working days.",
                "If that does not help, write to the head of department.",
                "The last step is the mediation panel of the council, which sits in the months of March, "
                "June and October.",
            ),
            numbered=True,
        ),
        Text(
            "Anyone may also use the Lantern line, 0456 22 911, which is answered by an outside solicitor "
            "and does not record numbers."
        ),
    ),
)
