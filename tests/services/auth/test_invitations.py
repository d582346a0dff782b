"""Invitations over real gRPC: to whom a code opens what, how often, and what inviters are not told."""

import asyncio
import re
from pathlib import Path
from string import Template
from typing import Any
from uuid import uuid4

import pytest

from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import invitations_pb2 as pb
from neurectomy.auth.v1 import members_pb2 as members
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.invitations_pb2_grpc import InvitationsServiceStub
from neurectomy.auth.v1.members_pb2_grpc import MembersServiceStub
from services.auth import invitations
from services.auth.audit import INSTALLATION
from services.auth.invitations import CODE_PREFIX, told
from tests.conftest import PASSWORD, Connect, Tenant, register
from tests.services.auth.mailbox import mail_to
from tests.services.auth.people import People, outcome, refused

NEW: dict[str, Any] = {"password": PASSWORD, "display_name": "New"}


def _create(role_id: str = "viewer", email: str = "") -> pb.CreateInvitationRequest:
    return pb.CreateInvitationRequest(email=email or f"{uuid4()}@example.org", role_id=role_id)


async def test_a_newcomer_joins_and_is_logged_in(connect_as: Connect, people: People, owner: Tenant) -> None:
    email = f"{uuid4()}@Example.org"
    joined = await people.accept(await people.invite(owner, "editor", email), **NEW)
    assert (joined.user.email, joined.organization.id, joined.role.id) == (email, str(owner.organization_id), "editor")
    me = await connect_as(AuthServiceStub, joined.access_token.token).GetCurrentUser(auth_pb2.GetCurrentUserRequest())
    assert (me.user.id, me.role.id, "agents:write" in me.permissions) == (joined.user.id, "editor", True)
    assert joined.refresh_token.token
    again = auth_pb2.LogInRequest(email=email.lower(), password=PASSWORD)
    assert (await connect_as(AuthServiceStub).LogIn(again)).user.id == joined.user.id
    assert "member.join" in await people.audited(owner.organization_id)


async def test_the_code_comes_by_mail_and_from_nowhere_else(connect_as: Connect, people: People, owner: Tenant) -> None:
    request = _create()
    answer = await connect_as(InvitationsServiceStub, owner).CreateInvitation(request)
    mail = await mail_to(people.stack, request.email, "Join")
    [code] = re.findall(rf"{CODE_PREFIX}[\w-]+", mail.get_content())
    assert CODE_PREFIX not in str(answer)
    async with people.database() as database:
        stored = await database.fetch("SELECT invitations::text AS row FROM auth.invitations")
    assert not [row for row in stored if code in row["row"]]
    assert (await people.accept(code, **NEW)).user.email == request.email


async def test_whoever_has_an_account_proves_it_and_gets_no_tokens_by_it(
    connect_as: Connect, people: People, owner: Tenant
) -> None:
    for how in ("token", "password"):
        guest = await register(connect_as)
        code = await people.invite(owner, "viewer", guest.email.upper())
        wrongs: list[dict[str, Any]] = [{}, {"password": "wrong and long enough"}, {"caller": owner}]
        for wrong in (*wrongs, {"caller": owner, "password": "x"}):
            assert await refused(people.accept(code, **wrong)) == "CREDENTIALS_INVALID"
        given: dict[str, Any] = {"caller": guest} if how == "token" else {"password": guest.password}
        joined = await people.accept(code, **given)
        assert (joined.user.id, joined.organization.id) == (guest.user_id, str(owner.organization_id))
        assert not joined.HasField("access_token")
        assert not joined.HasField("refresh_token")
        assert await refused(people.accept(code, caller=guest)) == "CODE_INVALID"
    assert "invitation.refuse" in await people.audited(owner.organization_id)


async def test_a_bad_token_is_no_stranger(people: People, owner: Tenant) -> None:
    code = await people.invite(owner, "viewer")
    assert await refused(people.accept(code, caller="no token", **NEW)) == "TOKEN_INVALID"


CODES = {
    "empty": "",
    "noise": "x" * 5_000,
    "NUL": "a\0b",
    "well-shaped": f"{CODE_PREFIX}{'a' * 43}",
    "with a line end": f"{CODE_PREFIX}{'a' * 43}\n",
}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
async def test_a_wrong_code_opens_nothing(people: People, code: str) -> None:
    before = len(await people.audited(INSTALLATION))
    assert await refused(people.accept(code, **NEW)) == "CODE_INVALID"
    assert (await people.audited(INSTALLATION))[before:] == ["invitation.refuse"]


async def test_a_code_is_good_once_however_many_use_it_at_once(people: People, owner: Tenant) -> None:
    code = await people.invite(owner, "viewer")
    outcomes = await asyncio.gather(*(outcome(people.accept(code, **NEW)) for _ in range(4)))
    assert outcomes.count("done") == 1
    assert set(outcomes) <= {"done", "CODE_INVALID", "CREDENTIALS_INVALID"}


async def test_bad_fields_do_not_use_a_code_up(people: People, owner: Tenant) -> None:
    code = await people.invite(owner, "viewer")
    bad = [{"password": "short"}, {"password": ""}, {"display_name": ""}, {"display_name": "x" * 201}]
    for change in (*bad, {"display_name": "a\0b"}):
        assert await refused(people.accept(code, **(NEW | change))) == "INVALID_FIELDS"
    await people.accept(code, **NEW)


async def test_a_code_ends(connect_as: Connect, people: People, owner: Tenant) -> None:
    code = await people.invite(owner, "viewer")
    async with people.database() as database:
        sql = "UPDATE auth.invitations SET expires_at = now() WHERE organization_id = $1 AND ended_at IS NULL"
        await database.execute(sql, owner.organization_id)
    assert await refused(people.accept(code, **NEW)) == "CODE_INVALID"
    listed = await connect_as(InvitationsServiceStub, owner).ListInvitations(pb.ListInvitationsRequest())
    assert not listed.invitations


async def test_the_newer_invitation_takes_the_place_of_the_older(
    connect_as: Connect, people: People, owner: Tenant
) -> None:
    email = f"{uuid4()}@example.org"
    older, newer = await people.invite(owner, "viewer", email), await people.invite(owner, "editor", email.upper())
    assert await refused(people.accept(older, **NEW)) == "CODE_INVALID"
    listed = await connect_as(InvitationsServiceStub, owner).ListInvitations(pb.ListInvitationsRequest())
    [mine] = [each for each in listed.invitations if each.email.lower() == email]
    assert (mine.role.id, mine.inviter_id) == ("editor", owner.user_id)
    assert mine.expire_time.seconds - mine.create_time.seconds == pytest.approx(7 * 86_400, abs=60)
    assert (await people.accept(newer, **NEW)).role.id == "editor"


async def test_the_same_person_invited_many_times_at_once_has_one_invitation(
    connect_as: Connect, owner: Tenant
) -> None:
    inviting, email = connect_as(InvitationsServiceStub, owner), f"{uuid4()}@example.org"
    calls = [inviting.CreateInvitation(_create(email=email)) for _ in range(8)]
    assert sorted(await asyncio.gather(*map(outcome, calls))) == ["TOO_MANY_ATTEMPTS"] * 3 + ["done"] * 5
    listed = (await inviting.ListInvitations(pb.ListInvitationsRequest())).invitations
    assert [each.email for each in listed].count(email) == 1


async def test_a_revoked_invitation_opens_nothing(connect_as: Connect, people: People, owner: Tenant) -> None:
    code, inviting = await people.invite(owner, "viewer"), connect_as(InvitationsServiceStub, owner)
    newest = (await inviting.ListInvitations(pb.ListInvitationsRequest())).invitations[0]
    await inviting.RevokeInvitation(pb.RevokeInvitationRequest(id=newest.id))
    assert await refused(people.accept(code, **NEW)) == "CODE_INVALID"
    again = inviting.RevokeInvitation(pb.RevokeInvitationRequest(id=newest.id))
    assert await refused(again) == "INVITATION_NOT_FOUND"


async def test_invitations_of_others_are_not_there(connect_as: Connect, owner: Tenant, other_tenant: Tenant) -> None:
    mine = (await connect_as(InvitationsServiceStub, owner).CreateInvitation(_create())).invitation
    inviting = connect_as(InvitationsServiceStub, other_tenant)
    assert not (await inviting.ListInvitations(pb.ListInvitationsRequest())).invitations
    for invitation_id in (mine.id, str(uuid4()), "x" * 5_000):
        revoking = inviting.RevokeInvitation(pb.RevokeInvitationRequest(id=invitation_id))
        assert await refused(revoking) == "INVITATION_NOT_FOUND"


async def test_inviters_are_not_told_who_has_an_account(
    connect_as: Connect, owner: Tenant, other_tenant: Tenant
) -> None:
    """Only what they said themselves comes back, in the same shape."""
    inviting = connect_as(InvitationsServiceStub, owner)
    answers = [
        (await inviting.CreateInvitation(_create(email=email))).invitation
        for email in (other_tenant.email, f"{uuid4()}@example.org")
    ]
    shapes = [[field.name for field, _ in each.ListFields()] for each in answers]
    assert shapes[0] == shapes[1]
    assert other_tenant.user_id not in str(answers[0])


BAD = {
    "no address": (_create(email="nobody"), "INVALID_FIELDS"),
    "endless address": (_create(email=f"{'a' * 300}@example.org"), "INVALID_FIELDS"),
    "NUL": (_create(email="a\0b@example.org"), "INVALID_FIELDS"),
    "two lines": (_create(email="a@example.org\nbcc:b@example.org"), "INVALID_FIELDS"),
    "no role": (_create(role_id=str(uuid4())), "ROLE_NOT_FOUND"),
    "malformed role": (_create(role_id="x" * 5_000), "ROLE_NOT_FOUND"),
}


@pytest.mark.parametrize(("request_", "expected"), BAD.values(), ids=BAD)
async def test_a_bad_invitation_is_refused(
    connect_as: Connect, owner: Tenant, request_: pb.CreateInvitationRequest, expected: str
) -> None:
    assert await refused(connect_as(InvitationsServiceStub, owner).CreateInvitation(request_)) == expected


async def test_nobody_invites_beyond_what_they_are(
    connect_as: Connect, owner: Tenant, admin: Tenant, viewer: Tenant
) -> None:
    def inviting(caller: Tenant) -> Any:
        return connect_as(InvitationsServiceStub, caller)

    assert await refused(inviting(admin).CreateInvitation(_create("owner"))) == "PERMISSION_MISSING"
    assert await refused(inviting(viewer).CreateInvitation(_create("viewer"))) == "PERMISSION_MISSING"
    assert await refused(inviting(viewer).ListInvitations(pb.ListInvitationsRequest())) == "PERMISSION_MISSING"
    assert await refused(inviting(owner).CreateInvitation(_create(email=viewer.email.upper()))) == "ALREADY_MEMBER"
    owners = (await inviting(owner).CreateInvitation(_create("owner"))).invitation
    revoking = pb.RevokeInvitationRequest(id=owners.id)
    assert await refused(inviting(admin).RevokeInvitation(revoking)) == "PERMISSION_MISSING"
    replacing = _create("viewer", owners.email)
    assert await refused(inviting(admin).CreateInvitation(replacing)) == "PERMISSION_MISSING"
    await inviting(owner).RevokeInvitation(revoking)


async def test_an_invitation_is_worth_no_more_than_its_inviter_is_now(
    connect_as: Connect, people: People, owner: Tenant
) -> None:
    inviter = await people.join(owner, "admin")
    code = await people.invite(inviter, "admin")
    demoting = members.SetMemberRoleRequest(user_id=inviter.user_id, role_id="editor")
    await connect_as(MembersServiceStub, owner).SetMemberRole(demoting)
    assert await refused(people.accept(code, **NEW)) == "CODE_INVALID"


async def test_a_member_cannot_join_twice(connect_as: Connect, people: People, owner: Tenant) -> None:
    """Who was invited by one address and joined meanwhile."""
    guest = await register(connect_as)
    code = await people.invite(owner, "viewer", guest.email)
    async with people.database() as database:
        sql = "INSERT INTO auth.memberships (organization_id, user_id, role) VALUES ($1, $2, 'viewer')"
        await database.execute(sql, owner.organization_id, guest.user_id)
    assert await refused(people.accept(code, caller=guest)) == "ALREADY_MEMBER"


async def test_there_is_an_end_to_invitations(connect_as: Connect) -> None:
    owner = await register(connect_as)
    inviting = connect_as(InvitationsServiceStub, owner)
    outcomes = [await outcome(inviting.CreateInvitation(_create())) for _ in range(101)]
    assert outcomes == ["done"] * 100 + ["TOO_LARGE"]


async def test_what_was_long_ago_is_forgotten(connect_as: Connect, people: People) -> None:
    owner = await register(connect_as)
    inviting = connect_as(InvitationsServiceStub, owner)
    await inviting.CreateInvitation(_create())
    async with people.database() as database:
        sql = "UPDATE auth.invitations SET created_at = now() - interval '31 days' WHERE organization_id = $1"
        await database.execute(sql, owner.organization_id)
        await inviting.CreateInvitation(_create())
        counting = "SELECT count(*) FROM auth.invitations WHERE organization_id = $1"
        assert await database.fetchval(counting, owner.organization_id) == 1


def test_the_mail_says_all_that_it_is_told_and_nothing_else() -> None:
    template = Template(Path(invitations.__file__).with_name("mails").joinpath("invitation.txt").read_text())
    values = told("Works", "Ada", "viewer", "CODE")
    assert set(template.get_identifiers()) == {*values, "public_url"}
    assert "Ada invites you" in template.substitute(values, public_url="https://example.org")
