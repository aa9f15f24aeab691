"""Chat messages, tools and response formats as OpenAI writes them.

Fields that we do not know are kept: clients send an engine's own fields back in assistant messages.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator

from serving.wire.common import Body

ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class Loose(Body):
    """Checked where we know a field, tolerant of others."""

    model_config = ConfigDict(extra="allow")


class TextPart(Loose):
    type: Literal["text"]
    text: str


class RefusalPart(Loose):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(Loose):
    url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Loose):
    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(Loose):
    data: str
    format: str


class AudioPart(Loose):
    type: Literal["input_audio"]
    input_audio: InputAudio


class FilePart(Loose):
    type: Literal["file"]
    file: dict[str, Any]


UserPart = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class SystemMessage(Loose):
    role: Literal["system", "developer"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: str | None = None


class UserMessage(Loose):
    role: Literal["user"]
    content: str | Annotated[list[UserPart], Field(min_length=1)]
    name: str | None = None


class CalledFunction(Loose):
    name: str = Field(min_length=1)
    arguments: str


class ToolCall(Loose):
    id: str = Field(min_length=1)
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(Loose):
    role: Literal["assistant"]
    content: str | Annotated[list[AssistantPart], Field(min_length=1)] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    function_call: CalledFunction | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(v is None for v in (self.content, self.refusal, self.tool_calls, self.function_call)):
            raise ValueError("an assistant message needs content, unless it has tool_calls")
        return self


class ToolMessage(Loose):
    role: Literal["tool"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    tool_call_id: str = Field(min_length=1)


class FunctionMessage(Loose):
    role: Literal["function"]
    content: str | None
    name: str = Field(min_length=1)


def _role(message: Any) -> str:
    role = message.get("role") if isinstance(message, dict) else getattr(message, "role", None)
    return f"<{role}>" if role != "developer" else "<system>"


ChatMessage = Annotated[
    Annotated[SystemMessage, Tag("<system>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")]
    | Annotated[FunctionMessage, Tag("<function>")],
    Discriminator(
        _role,
        custom_error_type="unknown_role",
        custom_error_message=f"a message is an object whose role is one of {', '.join(ROLES)}",
    ),
]


class FunctionDefinition(Loose):
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Loose):
    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(Loose):
    name: str


class NamedChoice(Loose):
    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedChoice


class JsonSchema(Loose):
    name: ToolName
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextFormat(Loose):
    type: Literal["text"]


class JsonObjectFormat(Loose):
    type: Literal["json_object"]


class JsonSchemaFormat(Loose):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
