"""Functions that abuse the AWS endpoint inside of their sandbox: to be another, to reach more, to take all of it."""

import json

import pytest

from .conftest import KINDS
from .live import ATTACKER, create
from .test_functions import Attack
from .test_runtime_api import server_memory_mib

# What an attack has at hand: calls by boto3, which says the error's code, and raw bytes.
PRELUDE = """
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

INSIDE = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")

def call(service, operation, key=(), members={}):
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    made = boto3.client(service, config=Config(retries={"total_max_attempts": 1}), **dict(zip(names, key)))
    try:
        answer = getattr(made, operation)(**members)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return answer.get("Arn", "accepted")

def own_key():
    return [os.environ["AWS_" + name] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")]

def connect():
    host, port = INSIDE.split(":")
    return socket.create_connection((host, int(port)), 5)

def raw(text):
    with connect() as peer:
        peer.sendall(text if isinstance(text, bytes) else text.replace("\\n", "\\r\\n").encode())
        got = b""
        while b"\\r\\n\\r\\n" not in got and (part := peer.recv(65536)):
            got += part
    return int(got.split()[1]) if got else 0
"""
UNKNOWN = ("UnrecognizedClientException",)
GET = "GET %s HTTP/1.1\\nHost: 169.254.100.1:4566\\n%s\\n"

ATTACKS = [
    Attack(
        "signs with another function's key",
        "result = call('lambda', 'list_functions', event['stolen'])",
        UNKNOWN,
        ("inside-keys",),
    ),
    Attack(
        "asks who it is with another function's key",
        "result = call('sts', 'get_caller_identity', event['stolen'])",
        ("InvalidClientTokenId",),
        ("inside-keys",),
    ),
    Attack(
        "signs with a key that is its account's number",
        "result = call('lambda', 'list_functions', ('999999999999', 'test'))",
        UNKNOWN,
        ("inside-signatures",),
    ),
    Attack(
        "signs with a key that works outside", "result = call('lambda', 'list_functions', ('test', 'test'))", UNKNOWN
    ),
    Attack(
        "guesses the secret of its key",
        "key, secret, token = own_key(); result = call('lambda', 'list_functions', (key, secret + 'x', token))",
        ("InvalidSignatureException",),
        ("inside-signatures",),
    ),
    Attack(
        "leaves out its session token",
        "result = call('lambda', 'list_functions', own_key()[:2] + [''])",
        UNKNOWN,
    ),
    Attack(
        "does not sign",
        f"result = raw('{GET}' % ('/2015-03-31/functions', ''))",
        (403,),
        ("inside-signatures",),
    ),
    Attack(
        "invokes without signing",
        "result = raw('POST /2015-03-31/functions/' + event['neighbour'] + '/invocations HTTP/1.1\\n"
        "Host: 169.254.100.1\\nContent-Length: 0\\n\\n')",
        (403,),
        ("inside-signatures",),
    ),
    Attack(
        "calls a function of another account",
        "result = call('lambda', 'invoke', members={'FunctionName': "
        "'arn:aws:lambda:us-east-1:999999999999:function:f'})",
        ("AccessDeniedException",),
    ),
    Attack(
        "deletes a function of another account",
        "result = call('lambda', 'delete_function', members={'FunctionName': "
        "'arn:aws:lambda:us-east-1:999999999999:function:f'})",
        ("AccessDeniedException", "ResourceNotFoundException", "InvalidParameterValueException"),
    ),
    Attack(
        "assumes a role of another account",
        "result = call('sts', 'assume_role', members={'RoleArn': 'arn:aws:iam::999999999999:role/admin', "
        "'RoleSessionName': 'x1'})",
        ("AccessDenied",),
    ),
    Attack(
        "signs with a key that another function derived from its own",
        "result = call('sts', 'get_caller_identity', event['derived'])",
        ("InvalidClientTokenId",),
        ("inside-keys",),
    ),
    Attack(
        "finds the port outside at the address inside",
        "result = attempt(lambda: socket.create_connection(('169.254.100.1', event['port']), 2) and 'connected')",
        ("ECONNREFUSED",),
    ),
    Attack(
        "asks for health, readiness and what an administrator may have",
        f"result = sorted({{raw('{GET}' % ('/_lambent/' + each, '')) for each in "
        "('health', 'ready', '', 'console', 'admin', 'metrics', 'settings')})",
        ([404],),
    ),
    Attack(
        "asks for the code of others with a forged token",
        f"result = sorted({{raw('{GET}' % ('/_lambent/code/' + each, '')) for each in "
        "('x', '..%2f..%2fsettings.json', '%00', 'a' * 5000)})",
        ([403],),
    ),
    Attack(
        "forges the Host",
        "result = sorted({raw('GET /2015-03-31/functions HTTP/1.1\\nHost: ' + host + '\\n\\n') for host in "
        "('evil.example', 'localhost.evil.example', 'a b', '')})",
        ([403], [400, 403]),
    ),
    Attack(
        "comes from a web page",
        f"result = raw('{GET}' % ('/2015-03-31/functions', 'Origin: http://evil.example\\n'))",
        (403,),
    ),
    Attack(
        "makes a proxy of it",
        "result = all(raw('%s HTTP/1.1\\nHost: 169.254.100.1\\n\\n' % first) in (400, 403, 404, 501) for first in "
        "('GET http://169.254.169.254/latest/meta-data/', 'GET http://127.0.0.1:%d/_lambent/health' % event['port'],"
        " 'CONNECT 127.0.0.1:%d' % event['port']))",
        (True,),
    ),
    Attack(
        "sends a megabyte of headers",
        "result = attempt(lambda: raw(b'GET / HTTP/1.1\\r\\nHost: 169.254.100.1\\r\\na: ' + b'x' * 2_000_000))",
        (431, 0, "ECONNRESET", "EPIPE"),
    ),
    Attack(
        "sends a thousand headers",
        "head = b'GET / HTTP/1.1\\r\\nHost: 169.254.100.1\\r\\n'\n"
        "result = raw(head + b'a: b\\r\\n' * 1000 + b'\\r\\n')",
        (431,),
    ),
    Attack("sends garbage", "result = raw(b'\\0\\xff\\r\\n\\r\\n' * 100)", (400,)),
    Attack(
        "smuggles a request",
        "lengths = 'Content-Length: 5\\nTransfer-Encoding: chunked\\n'\n"
        "result = raw('POST / HTTP/1.1\\nHost: 169.254.100.1\\n' + lengths + '\\n0\\n\\n')",
        (400,),
    ),
    Attack(
        "keeps the server busy with requests that it pipelines",
        "one = b'GET /x HTTP/1.1\\r\\nHost: 169.254.100.1\\r\\n\\r\\n'\n"
        "end, answered, peers = time.monotonic() + 3, 0, [connect() for _ in range(16)]\n"
        "for peer in peers:\n"
        "    peer.setblocking(False)\n"
        "while time.monotonic() < end:\n"
        "    for peer in peers:\n"
        "        try:\n"
        "            peer.send(one * 500)\n"
        "        except BlockingIOError:\n"
        "            pass\n"
        "        try:\n"
        "            answered += peer.recv(1 << 20).count(b'HTTP/1.1 ')\n"
        "        except BlockingIOError:\n"
        "            pass\n"
        "result = answered < 10_000",
        (True,),
        ("inside-pace",),
    ),
]

LEAKING = """
import boto3, os
def handler(event, context):
    names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
    role = {"RoleArn": "arn:aws:iam::000000000000:role/derived", "RoleSessionName": "leaked"}
    derived = boto3.client("sts").assume_role(**role)["Credentials"]
    return {
        "stolen": [os.environ["AWS_" + name] for name in names],
        "derived": [derived[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")],
    }
"""


def find(live, attack):
    """Return what the attack finds, with the key of a function that lives next to it."""
    if not hasattr(live, "leaking"):
        live.leaking = create(live.functions, LEAKING, Timeout=20, MemorySize=512)
    keys = json.loads(live.functions.invoke(FunctionName=live.leaking)["Payload"].read())
    answer = live.attack(PRELUDE + attack.code, **keys, port=live.port, neighbour=live.neighbour)
    assert answer.error is None, answer
    return answer.payload


# One server for all: what is off beside the one defence in question is no wall of that attack.
OFF_TOGETHER = ("inside-keys", "inside-signatures", "inside-pace")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "_"))
def test_is_stopped_a_function_that(attack, live):
    assert find(live, attack) in attack.contained


@pytest.mark.parametrize(
    "attack", [each for each in ATTACKS if each.without], ids=lambda attack: attack.name.replace(" ", "_")
)
def test_is_not_stopped_without_its_defence_a_function_that(attack, servers):
    weakened = servers(KINDS[0], *OFF_TOGETHER)
    assert find(weakened, attack) not in attack.contained


@pytest.fixture(scope="module")
def own(live):
    """A function of the attacker's for attacks that cost it its environment."""
    return create(live.functions, ATTACKER, Timeout=20, MemorySize=512)


def test_the_key_of_a_program_that_ended_is_void(live, own):
    live.attack(PRELUDE + "open('/tmp/key', 'w').write(' '.join(own_key()))\nos._exit(1)", own)
    code = (
        "result = [call('lambda', 'list_functions', open('/tmp/key').read().split()), call('lambda', 'list_functions')]"
    )
    assert live.attack(PRELUDE + code, own).payload == ["UnrecognizedClientException", "accepted"]


def test_more_connections_than_an_environment_may_have_are_dropped_and_it_can_call_again_at_once(live, own):
    code = """
peers = []
for _ in range(500):
    peer = connect()
    try:
        peer.sendall(b"POST / HTTP/1.1\\r\\nHost: 169.254.100.1\\r\\nContent-Length: 6000000\\r\\n\\r\\nx")
        peers.append(peer)
    except OSError:
        pass
time.sleep(0.5)
alive = 0
for peer in peers:
    peer.setblocking(False)
    try:
        alive += peer.recv(1) == b"?"
    except BlockingIOError:
        alive += 1
    except OSError:
        pass
for peer in peers:
    peer.close()
time.sleep(0.5)
result = [alive, call("lambda", "list_functions")]
"""
    alive, after = live.attack(PRELUDE + code, own).payload
    assert (0 < alive <= 128, after) == (True, "accepted")


def test_bodies_that_never_end_cost_the_server_a_bounded_memory(live, own):
    before = server_memory_mib(live)
    code = """
peers, piece = [], bytes(1 << 18)
for _ in range(100):
    peer = connect()
    peer.settimeout(1)
    try:
        peer.sendall(b"POST /2015-03-31/functions/f/invocations HTTP/1.1\\r\\nHost: 169.254.100.1\\r\\n"
                     b"Content-Length: 6000000\\r\\n\\r\\n")
        for _ in range(16):
            peer.sendall(piece)
    except OSError:
        pass
    peers.append(peer)
result = "sent"
"""
    assert live.attack(PRELUDE + code, own).payload == "sent"
    assert server_memory_mib(live) - before < 64


def test_a_function_that_calls_itself_without_end_runs_into_its_limit_and_all_get_an_answer(live, own):
    code = """
import json
answer = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1})).invoke(
    FunctionName=context.function_name, Payload=json.dumps(dict(event, depth=event["depth"] + 1)))
result = json.loads(answer["Payload"].read())
"""
    stop = "if event['depth'] >= 6:\n    result = 'the bottom'\nelse:\n" + code.replace("\n", "\n    ")
    assert live.attack(PRELUDE + stop, own, depth=0).payload == "the bottom"
