"""The words on which the rules of evidence rest, of the languages that we know best, all in one set each.

A word that means something in one language and nothing in another costs a verified span there, never a false
one.
"""

from __future__ import annotations

import re

from rag.sentences import vocabulary

STOP_WORDS = vocabulary(
    """
    a an the this that these those is are was were be been being am do does did done have has had having
    will would shall should can could may might must of in on at by for with from to into onto about as
    and or but if then than so it its he she they them his her hers their theirs we us our you your i me
    my mine who whom whose which what when where why how there here also just very such some any each
    all both s t it's der die das den dem des ein eine einer eines einem einen ist sind war waren sein
    wird werden wurde wurden hat haben hatte hatten und oder aber auch als wie im am zum zur vom von mit
    auf aus bei nach für über unter durch um an zu in es er sie wir ihr ihre ihren ihrer seine seiner
    sich dass daß wer was wann wo warum welche welcher welches welchen welchem dieser diese dieses man
    so noch nur viele viel el la los las un una unos unas de del al y e o u que qué en por para con se
    su sus es son era eran fue fueron ser ha han había como cómo cuál cuáles cuándo cuanto cuánto
    cuántos cuántas dónde quién quiénes lo le les más este esta estos estas ese esa muy también cuyo les
    du et est sont était dans sur pour avec par au aux ce cette ces qui quoi quel quelle quels quelles
    où il elle ils elles nous vous leur leurs ne pas d l qu di che il gli della del nel dei delle è sono
    per non da com uma os as do dos das não foi het een van en dat op te zijn voor met niet
    """
)
# Thai and Han particles that carry no content on their own.
RUN_STOP = frozenset("的了是在和与或及於于也就都而之其这那个么什哪谁吗呢着被把有何はがのをにへとでもか")

_NEGATIONS = (
    r"not|no|never|none|nor|neither|without|nobody|nothing|nowhere|hardly|scarcely|barely|cannot|\w+n[’']t|"
    r"nicht|kein\w*|nie|niemals|ohne|weder|nichts|niemand\w*|kaum|"
    r"nunca|jam[áa]s|sin|ni|ning[úu]n\w*|nadie|nada|tampoco|"
    r"ne|n[’']\w+|pas|jamais|sans|aucun\w*|rien|personne|non|mai|senza|nessun\w*|n[ée]|"
    r"n[ãa]o|sem|nem|nenhum\w*|niet|geen|nooit|zonder|"
    r"не|нет|ни|никогда|без|değil|yok|नहीं|बिना|मत|لا|لم|لن|ليس|ليست|غير|بدون|ไม่|không"
)
_NEGATION_RUNS = "不|没|沒|未|无|無|非|勿|莫|否|别|ない|なかっ|なし|ません|ず|ไม่|않|없|못|아니"
_HEDGES = (
    # en
    r"unless|except|excepting|excluding|excludes?|false|untrue|wrong(?:ly)?|incorrect\w*|myths?|contrary|unlikely|"
    r"lacks?|fail\w*|might|may|could|would|should|perhaps|possibly|probably|maybe|alleg\w+|suppos\w+|reportedly|"
    r"apparently|seems?|seemed|appears?|appeared|if|whether|provided|providing|until|only|but|however|although|though|"
    r"otherwise|instead|despite|almost|nearly|claim\w*|argu\w+|believ\w*|assum\w*|suggest\w*|den(?:y|ies|ied)|"
    r"rumou?r\w*|according|sa(?:y|ys|id)|thought|hypothe\w*|purport\w*|hoax\w*|former(?:ly)?|either|between|"
    r"apart|aside|exceptions?|other than|revers\w+|overturn\w+|retract\w+|cancel\w+|revok\w+|disput\w+|"
    r"refut\w+|debunk\w*|reject\w*|contradict\w*|mistak\w+|errors?(?! (?:codes?|messages?)\b)|erroneous\w*|"
    r"withdrawn|invalid\w*|void|"
    # de
    r"außer|ausgenommen|falls|wenn|sofern|soweit|nur|lediglich|aber|jedoch|sondern|obwohl|könnte\w*|dürfte\w*|"
    r"soll\w*|würde\w*|möglicherweise|vielleicht|wahrscheinlich|angeblich\w*|vermutlich\w*|behaupt\w*|falsch\w*|"
    r"unwahr\w*|laut|glaub\w*|entweder|zwischen|fast|abgesehen|ausnahme\w*|"
    r"widerruf\w*|aufgehoben\w*|abgelehnt\w*|widerlegt\w*|irrtüm\w*|ungültig\w*|"
    # es
    r"excepto|salvo|si|s[óo]lo|solamente|pero|aunque|sino|quiz[áa]s?|podr[íi]a\w*|puede\w*|deber[íi]a\w*|"
    r"probablemente|posiblemente|supuest\w*|presunt\w*|seg[úu]n|afirma\w*|fals\w*|incorrect\w*|entre|casi|excepci\w+|"
    r"revoc\w+|anul\w+|rechaz\w+|refut\w+|desment\w+|err[óo]ne\w+|inv[áa]lid\w+|"
    # fr, it, pt, nl, ru
    r"sauf|seulement|mais|pourrait|prétend\w*|selon|faux|fausse|solo|forse|potrebbe|secondo|tranne|apenas|talvez|"
    r"poderia|segundo|tenzij|alleen|maar|misschien|zou|если|только|но|может|возможно|якобы|кроме|"
    # hi, ar
    r"अगर|यदि|शायद|केवल|लेकिन|إذا|إلا|ربما|لكن|فقط"
)
_HEDGE_RUNS = (
    "如果|若|除非|除了|除外|撤销|撤銷|否认|否認|推翻|取消|无效|仅|僅|只|但|可能|也许|也許|或许|或許|据称|據稱|声称|聲稱|认为|認為|据说|據說|错误|錯誤|谣|謠|假|"
    "もし|場合|だけ|しか|かも|らしい|という|만약|만일|ถ้า|เท่านั้น"
)
# A rest that begins (or, to the left, an opening that begins) with one of these narrows the statement.
SCOPES = vocabulary(
    """
    for in at on during under per by of to from until till before after since when where while as with
    within outside among or than because plus minus less only für im an am auf bei beim während unter
    pro von vom bis vor nach seit mit innerhalb außerhalb als oder je zu zum zur aus weil zzgl zuzüglich
    para en de del durante bajo por hasta antes después desde con dentro fuera cuando o u a al porque
    más mientras pour dans du des pendant sous par jusque avant après depuis avec ou à au aux quand
    lorsque nel di da em no na até quando met voor bij tot
    """
)
SCOPE_RUNS = tuple("在对對当當于於从從自至为為由或每以")
APPROXIMATE = vocabulary(
    """
    about approximately around roughly nearly almost over under to least most than between and or plus
    minus up circa up-to ca etwa rund fast über unter bis mindestens höchstens maximal mehr weniger als
    zwischen hasta casi unos unas entre más menos aproximadamente cerca alrededor environ presque plus
    moins jusqu'à circa quasi più meno cerca mais menos não
    """
)
SCALES = vocabulary(
    """
    hundred thousand million millions billion billions trillion trillions dozen percent percentage per
    half hundert tausend million millionen milliarde milliarden billion billionen prozent mio mrd halb
    mil millón millones mille milliard milliards milione milioni miliardi milhão milhões bilhões cento
    ciento k m bn mn lakh crore
    """
)

NEGATION = re.compile(rf"(?<!\w)(?:{_NEGATIONS})(?!\w)|{_NEGATION_RUNS}", re.IGNORECASE)
QUALIFIER = re.compile(
    rf"(?<!\w)(?:{_NEGATIONS}|{_HEDGES})(?!\w)|{_NEGATION_RUNS}|{_HEDGE_RUNS}|~~|[?？؟¿]", re.IGNORECASE
)
DENIAL = re.compile(
    r"(?<!\w)(?:false\w*|untrue|wrong\w*|incorrect\w*|myths?|contrary|den(?:y|ies|ied)|disput\w+|reject\w*|lie[sd]?|"
    r"falsch\w*|unwahr\w*|bestreite\w*|fals[oa]s?|incorrect\w*|nieg\w+|faux|fausse)(?!\w)|错误|錯誤|谣|否认|間違",
    re.IGNORECASE,
)
