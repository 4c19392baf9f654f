"""A caller of another account, signed: refused, allowed by the function's policy, refused again."""

import json

import pytest
from botocore.exceptions import ClientError

from lambent.testing.process import LambentProcess

from . import aws

OWNER, STRANGER = "111111111111", "222222222222"
ECHO = "def handler(event, context):\n    return context.invoked_function_arn\n"


def refusal(client, arn):
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName=arn)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_another_account_invokes_what_the_policy_of_a_function_allows_it(state_dir):
    keys = {f"AKIA{account}": {"secret": "s", "account": account} for account in (OWNER, STRANGER)}
    with LambentProcess(state_dir, settings={"signatures": "verify", "credentials": keys}) as server:
        owner, stranger = (
            aws.client("lambda", server.endpoint, key=f"AKIA{account}", secret="s") for account in (OWNER, STRANGER)
        )
        name = aws.create(owner, ECHO)
        owner.publish_version(FunctionName=name)
        owner.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        arn = f"arn:aws:lambda:{aws.REGION}:{OWNER}:function:{name}"
        alias = f"{arn}:live"
        code, text = refusal(stranger, alias)
        assert code == "AccessDeniedException"
        assert text.endswith("because no resource-based policy allows the lambda:InvokeFunction action")
        owner.add_permission(
            FunctionName=name,
            Qualifier="live",
            StatementId="shared",
            Action="lambda:InvokeFunction",
            Principal=STRANGER,
        )
        assert json.loads(stranger.invoke(FunctionName=alias)["Payload"].read()) == alias
        assert refusal(stranger, arn)[0] == "AccessDeniedException"
        assert refusal(stranger, f"{arn}-none")[0] == "AccessDeniedException"  # whether it exists is told to nobody
        owner.remove_permission(FunctionName=name, Qualifier="live", StatementId="shared")
        assert refusal(stranger, alias)[0] == "AccessDeniedException"
