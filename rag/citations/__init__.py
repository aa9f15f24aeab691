"""Which words of which source each sentence of an answer rests on.

Terms. The *passages* are what stood before the model, best first; passage n has index n+1, the number in a
marker `[n]`. Markers are `[1]`, `[1, 2]`, `[1-3]`, `[1][2]` and `【1】`; a number that names no passage shown
is plain text. A *sentence* is a span of `rag.sentences`; its markers may stand inside it or directly behind
it. A span of the answer covers the sentence without the markers at its edges.

Every sentence is judged alone, in this order.

1. **The whole sentence.** Its text without markers is looked for in each passage that its markers name and,
   if none of them holds it, in all others, best first.
   - `exact`: it is a substring of the passage, code point for code point.
   - `normalized`: it is one after folding case, white space, quotation marks, dashes, full-width forms, `…`,
     Unicode composition, invisible characters, Markdown emphasis (`**`, `*`, backticks), a leading bullet or
     list number, and final stops. A letter's case is not folded in a unit (5 mW, 5 MW). The quote is then the
     source's own words.

   Either way it counts only if all of this holds:
   - It begins and ends between tokens: not "40" in "140", "40%", "-40" or "40 000"; not "1.5" in "1.50"; not
     "refundable" in "non-refundable".
   - If it is only part of its source sentence, the words left out hold no negation, modality, condition,
     exception, report of what others say, or question mark; nor does a wrapped line above or below, or a
     list's lead-in.
   - If it is only part, it is a clause (it begins with its sentence or behind a semicolon or colon, and ends with
     it or before one of these, a dash or a comma; what was left out does not begin with a word of scope such as
     "for", "in", "until" or "or", nor continues an enumeration of numbers), or a bare name or quantity that is
     complete ("Kawann Short", "40 euros").
   - If it is only part, it has two words or a number. A single word is evidence only where the source has
     exactly that sentence.
   - It does not touch an edge of the passage at which the passage itself was cut in mid-sentence.
2. **Quotations.** A part of three or more words in quotation marks that stands in a passage by the rules
   above (edges inside a clause are allowed) is a span of its own, for exactly that part.
3. **Markers.** For every named passage without a verified span: one `unverified` span. Its quote is the
   sentence of that passage which holds the largest share of the claim's words, rare words counting more,
   provided that the share reaches MARKED_FLOOR, each number with its unit occurs there too, and both or
   neither are negated; else the quote is None.
4. **No marker, nothing verified.** The same alignment over all passages with UNMARKED_FLOOR gives one
   `unverified` span. Below it, or with fewer than three content words, the sentence stays uncited.

`exact` and `normalized` say that the source has these words, and nothing more; `unverified` never says that
the source supports the sentence. JSON is read string by string.
"""

from rag.citations.sources import Sources
from rag.citations.stream import CitationStream, Piece, cite
from rag.citations.support import MARKED_FLOOR, UNMARKED_FLOOR

__all__ = ["MARKED_FLOOR", "UNMARKED_FLOOR", "CitationStream", "Piece", "Sources", "cite"]
