"""`agentChanged`: what is followed over a WebSocket."""

from typing import Any

from ariadne import ObjectType, SubscriptionType

from gateway.changes import Change, Subscription
from gateway.context import Info
from gateway.resolvers.agent_store import agents
from services.runtime.errors import TokenMissing

subscription, change = SubscriptionType(), ObjectType("AgentChange")
bindables = [subscription, change]


@subscription.source("agentChanged")  # type: ignore[arg-type]  # an asynchronous iterator need not be a generator
async def follow_agents(_: None, info: Info, id: str | None = None) -> Subscription:
    context = info.context
    if context.principal is None:
        raise TokenMissing
    context.principal.require("agents:read")
    return await context.changes.follow(context.principal.tenant, id)


@subscription.field("agentChanged")
def agent_changed(source: Change, _: Info, id: str | None = None) -> Change:
    return source


@change.field("agent")
def changed_agent(source: Change, info: Info) -> Any:
    return info.context.load(agents, source.agent_id)
