"""From nothing to a cited answer: start the server, upload documents, ask questions.

Run it with `make quickstart`. It is a client as yours will be: it knows the HTTP API and nothing else of the
server. `main` is the whole story; starting the server is in quickstart_server.py, files and ingestion are in
quickstart_knowledge.py, printing is in quickstart_view.py. Running it again reuses what is there.
"""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import openai
import quickstart_knowledge as knowledge
import quickstart_view as view
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from quickstart_server import (
    DATA,
    QuickstartError,
    Server,
    log_file,
    running_server,
    wait_until_ready,
)
from rich.console import Console

Citations = list[dict[str, Any]]

EXTRACTIVE = "extractive"
SMALL_MODEL = "smollm2-135m-instruct"
ENGINE_SECONDS = 300.0
ENGINE_POLL_SECONDS = 2.0

QUESTIONS = (
    (EXTRACTIVE, "By when must I claim an expense in Ledgerline?"),
    (SMALL_MODEL, "Which VHF channel is the working channel between the vessels and the Duty Desk?"),
    (EXTRACTIVE, "How long before departure must dangerous goods be declared?"),
)


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a letter shows "?" instead
    console = Console(highlight=False)
    try:
        run(console)
    except QuickstartError as error:
        return fail(console, str(error))
    except openai.APIStatusError as error:
        return fail(console, f"The server refused a request with status {error.status_code}: {reason(error)}")
    except openai.APIError as error:
        return fail(console, f"The server broke off: {error}. Read {log_file(DATA)}.")
    except OSError as error:
        return fail(console, f"A file cannot be used: {error}. Repair that and run `make quickstart` again.")
    except KeyboardInterrupt:
        fail(console, "Interrupted. A server that was started keeps running; `make stop` ends it.")
        return 130
    return 0


def run(console: Console) -> None:
    server = running_server(DATA, console)
    wait_until_ready(server, console)
    client = connect(server)
    files = knowledge.upload(client, knowledge.documents(), console)
    kb = knowledge.knowledge_base(client, console)
    knowledge.ingest(client, kb, list(files.values()), console)
    for number, (preferred, question) in enumerate(QUESTIONS, start=1):
        model = usable_model(client, preferred, console)
        view.show_question(console, number, question, model)
        answer = ask if model == EXTRACTIVE else ask_streaming
        view.show_citations(console, answer(client, model, question, kb, console))
    view.farewell(console, server, kb)


def connect(server: Server) -> OpenAI:
    """An ordinary OpenAI client: only base URL and key differ. The proxy settings of the environment are for
    the internet, not for this machine."""
    http = openai.DefaultHttpx2Client(trust_env=False)
    return OpenAI(base_url=server.base_url, api_key=server.key, timeout=120.0, http_client=http)


def ask(client: OpenAI, model: str, question: str, kb: str, console: Console) -> Citations:
    """Asks the knowledge base, prints the answer and returns its citations."""
    completion = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        extra_body={"knowledge_bases": [kb]},
    )
    view.show_words(console, completion.choices[0].message.content or "")
    return citations_of(completion)


def ask_streaming(client: OpenAI, model: str, question: str, kb: str, console: Console) -> Citations:
    """The same, printing while the model writes. The last chunk of the answer brings the citations."""
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        stream=True,
        temperature=0,
        max_tokens=200,
        extra_body={"knowledge_bases": [kb]},
    )
    citations: Citations = []
    for chunk in stream:
        for choice in chunk.choices:
            view.show_words(console, choice.delta.content or "")
        citations = citations_of(chunk) or citations
    return citations


def citations_of(answer: ChatCompletion | ChatCompletionChunk) -> Citations:
    """`citations` is not among OpenAI's own fields, so the client keeps it with the extra ones."""
    return (answer.model_extra or {}).get("citations") or []


def usable_model(client: OpenAI, wanted: str, console: Console) -> str:
    """`wanted` once it answers; the built-in extractive model where its engine is not installed."""
    if wanted == EXTRACTIVE:  # needs no engine
        return wanted
    if wanted in {model.id for model in client.models.list()}:
        wait_for_engine(client, wanted, console)
        return wanted
    console.print(
        f"\nThe model {wanted} is not here, because its engine is not installed: "
        f"`make engine` installs it (about 2.5 GB). Asking {EXTRACTIVE} instead."
    )
    return EXTRACTIVE


def wait_for_engine(client: OpenAI, model: str, console: Console) -> None:
    """Returns when the model writes a word. An engine that is still loading answers 503 until then."""
    end = time.monotonic() + ENGINE_SECONDS
    patient = client.with_options(max_retries=0)
    with console.status(f"Waiting for the engine of {model} …") as line:
        while True:
            try:
                patient.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": "Hello"}], max_tokens=1
                )
            except (openai.InternalServerError, openai.RateLimitError) as error:
                if time.monotonic() > end:
                    raise QuickstartError(
                        f"The engine of {model} is not up after {ENGINE_SECONDS:.0f} s ({reason(error)}): "
                        f"read the logs beside {log_file(DATA)}."
                    ) from error
                line.update(f"Waiting for the engine of {model}: {reason(error)}")
                time.sleep(ENGINE_POLL_SECONDS)
            else:
                return


def reason(error: openai.APIStatusError) -> str:
    """The server's own sentence, without the client's prefix."""
    body = error.body
    return str(body["message"]) if isinstance(body, dict) and "message" in body else error.message


def fail(console: Console, sentence: str) -> int:
    console.print(f"\n{sentence}", style="red", markup=False, soft_wrap=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
