"""The queries that are measured, by name: selection sets, so that each run can give its operation a name."""

from deploy.local.foreground import QUERY

SIMPLE = "{ agents(first: 1) { id name description status type tags createTime updateTime etag } }"
AGENTS = "{ agents { id name } }"
DEMO = QUERY
COMPLEX = "{ agents(first: 20) { id name executions(first: 5) { id status durationMs version } } }"

SCENARIOS = {"simple": SIMPLE, "agents": AGENTS, "demo": DEMO, "complex": COMPLEX}
