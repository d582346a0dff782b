"""The RPC of ExplanationsService: proto in, call, proto out."""

from neurectomy.auth.v1 import explanations_pb2 as pb
from neurectomy.auth.v1.explanations_pb2_grpc import ExplanationsServiceServicer
from services.auth.explanations import Explanations, Question
from services.auth.service import messages
from services.runtime.caller import current_principal
from services.runtime.scopes import Context


class ExplanationsRpcs(ExplanationsServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, explanations: Explanations) -> None:
        self._explanations = explanations

    async def ExplainAccess(self, request: pb.ExplainAccessRequest, context: Context) -> pb.ExplainAccessResponse:
        asked = Question(request.permission, request.subject_id, request.resource_id)
        found = await self._explanations.explain(current_principal(), asked)
        return pb.ExplainAccessResponse(
            allowed=found.allowed,
            cause=pb.AccessCause.Value(f"ACCESS_CAUSE_{found.cause.name}"),
            explanation=found.sentence,
            role=messages.role(found.role) if found.role else None,
            matched_permission=found.matched,
            roles_that_would=map(messages.role, found.roles_that_would),
        )
