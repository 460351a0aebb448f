"""Model providers, agents and their immutable versions."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from agents.definition import LARGEST_TOKEN_BUDGET, MOST_TURNS
from agents.trust import Trust
from audit.governed import Governed
from provenance.db import TenantForeignKey


class ModelProvider(Governed):
    """Where models are called: any OpenAI-compatible base URL. The key is a reference; the gateway alone resolves it.

    `scripted` marks a server that plays a script instead of running a language model, and is shown wherever it acts.
    Prices are decimal texts per million tokens; "" when unknown. `capabilities`: tools, strict_schema, json_mode.
    """

    name = models.CharField(max_length=60)
    base_url = models.CharField(max_length=500)
    # scheme://host:port of base_url: what the key must be bound to.
    origin = models.CharField(max_length=300)
    secret_name = models.CharField(max_length=100, blank=True, default="")
    scripted = models.BooleanField(default=False)
    # The outbound door lets calls reach exactly this host and port although they are not on the public internet (T20).
    private_network = models.BooleanField(default=False)
    input_price = models.CharField(max_length=20, blank=True, default="")
    output_price = models.CharField(max_length=20, blank=True, default="")
    currency = models.CharField(max_length=3, default="USD")
    capabilities = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace_id", "name"], name="agents_provider_name")]

    def __str__(self) -> str:
        return self.name


class Agent(Governed):
    """An identity of its own that acts with tools. What it is made of stands in its versions.

    `trust_level` starts at low and moves only through `raise_trust` and `lower_trust` (M004).
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"
        RETIRED = "retired"

    slug = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    trust_level = models.CharField(
        max_length=10, choices=[(level.value, level.value) for level in Trust], default=Trust.LOW.value
    )
    # Number of the version that new runs use; 0 until the first is published.
    current_version = models.PositiveIntegerField(default=0)
    suspended_reason = models.TextField(blank=True, default="")
    created_by = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "slug"], name="agents_agent_slug"),
            models.CheckConstraint(
                condition=Q(status__in=["active", "suspended", "retired"]), name="agents_agent_status"
            ),
            models.CheckConstraint(
                condition=Q(trust_level__in=[level.value for level in Trust]), name="agents_agent_trust"
            ),
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def is_active(self) -> bool:
        """Whether it may start runs and call tools."""
        return self.status == self.Status.ACTIVE


class AgentVersion(Governed):
    """One configuration of an agent, never changed after it was published.

    `requested_tools` is a list of `{"tool": "erp.getVendor", "reason": "…"}`: a request gives no right, a grant does.
    `forbidden_actions` are sentences for the model; `forbidden_tools` are the tool names that the gateway refuses
    whatever is granted (M081). `system_prompt` leaves the platform towards the model only (M080).
    """

    agent = TenantForeignKey(Agent, related_name="versions")
    number = models.PositiveIntegerField()
    provider = TenantForeignKey(ModelProvider, related_name="+")
    model = models.CharField(max_length=200)
    system_prompt = models.TextField()
    forbidden_actions = ArrayField(models.TextField(), default=list)
    forbidden_tools = ArrayField(models.TextField(), default=list)
    requested_tools = models.JSONField(default=list)
    max_turns = models.PositiveSmallIntegerField()
    token_budget = models.PositiveIntegerField()
    # Over everything above, so that equal numbers in two exports mean equal agents.
    content_hash = models.CharField(max_length=64)
    # The user who answers for it: the publisher, or the owner of the key that published.
    published_by = models.CharField(max_length=100)
    published_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "agent", "number"], name="agents_version_number"),
            models.CheckConstraint(condition=Q(number__gte=1), name="agents_version_number_positive"),
            models.CheckConstraint(condition=Q(max_turns__range=(1, MOST_TURNS)), name="agents_version_turns"),
            models.CheckConstraint(
                condition=Q(token_budget__range=(1, LARGEST_TOKEN_BUDGET)), name="agents_version_token_budget"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number}"

    @property
    def provider_name(self) -> str:
        """The name of the provider whose model it uses."""
        return str(self.provider.name)
