"""Which servicer answers for which service of this process."""

import grpc

from neurectomy.auth.v1.api_keys_pb2_grpc import add_ApiKeysServiceServicer_to_server
from neurectomy.auth.v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from neurectomy.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from neurectomy.auth.v1.explanations_pb2_grpc import add_ExplanationsServiceServicer_to_server
from neurectomy.auth.v1.invitations_pb2_grpc import add_InvitationsServiceServicer_to_server
from neurectomy.auth.v1.members_pb2_grpc import add_MembersServiceServicer_to_server
from neurectomy.auth.v1.organizations_pb2_grpc import add_OrganizationsServiceServicer_to_server
from neurectomy.auth.v1.passwords_pb2_grpc import add_PasswordsServiceServicer_to_server
from neurectomy.auth.v1.roles_pb2_grpc import add_RolesServiceServicer_to_server
from neurectomy.auth.v1.second_factor_pb2_grpc import add_SecondFactorServiceServicer_to_server
from neurectomy.auth.v1.sessions_pb2_grpc import add_SessionsServiceServicer_to_server
from neurectomy.auth.v1.signing_keys_pb2_grpc import add_SigningKeysServiceServicer_to_server
from services.auth.assembly import Rules
from services.auth.service.accounts import Auth
from services.auth.service.api_keys import ApiKeysRpcs
from services.auth.service.audit import AuditRpcs
from services.auth.service.explanations import ExplanationsRpcs
from services.auth.service.invitations import InvitationsRpcs
from services.auth.service.members import MembersRpcs
from services.auth.service.organizations import OrganizationsRpcs
from services.auth.service.passwords import PasswordsRpcs
from services.auth.service.roles import RolesRpcs
from services.auth.service.second_factor import SecondFactorRpcs
from services.auth.service.sessions import SessionsRpcs
from services.auth.service.signing_keys import SigningKeysRpcs


def register(rules: Rules, server: grpc.aio.Server) -> None:
    """All of them."""
    accounts = Auth(rules.accounts, rules.identities, rules.database, rules.signing_keys, rules.verifier)
    add_AuthServiceServicer_to_server(accounts, server)
    add_PasswordsServiceServicer_to_server(PasswordsRpcs(rules.password_changes), server)
    add_SecondFactorServiceServicer_to_server(SecondFactorRpcs(rules.enrolments), server)
    add_SessionsServiceServicer_to_server(SessionsRpcs(rules.refreshing, rules.open_sessions), server)
    add_ApiKeysServiceServicer_to_server(ApiKeysRpcs(rules.api_keys), server)
    add_OrganizationsServiceServicer_to_server(OrganizationsRpcs(rules.organizations), server)
    add_MembersServiceServicer_to_server(MembersRpcs(rules.members), server)
    add_RolesServiceServicer_to_server(RolesRpcs(rules.roles), server)
    add_InvitationsServiceServicer_to_server(InvitationsRpcs(rules.invitations, rules.joining, rules.verifier), server)
    add_ExplanationsServiceServicer_to_server(ExplanationsRpcs(rules.explanations), server)
    add_SigningKeysServiceServicer_to_server(SigningKeysRpcs(rules.signing_keys), server)
    add_AuditServiceServicer_to_server(AuditRpcs(rules.database), server)
