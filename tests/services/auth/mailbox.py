"""What the local stack's auth has mailed."""

import asyncio
from email import message_from_bytes, policy
from email.message import EmailMessage

from deploy.local.stack import Stack

SETTLE_SECONDS = 30.0


async def mail_to(stack: Stack, recipient: str, subject: str) -> EmailMessage:
    """The newest with that subject, once auth has written it."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            for file in sorted(stack.mail_folder.glob("*.eml"), reverse=True):
                mail = message_from_bytes(file.read_bytes(), policy=policy.default)
                if mail["To"] == recipient and subject in mail["Subject"]:
                    assert isinstance(mail, EmailMessage)
                    return mail
            await asyncio.sleep(0.05)
