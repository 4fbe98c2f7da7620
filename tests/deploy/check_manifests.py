"""Checks Kubernetes manifests for scripts/check-deploy: python check_manifests.py DIRECTORY KEDA_VERSION KEDA_CRDS."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import yaml

# The oldest and the newest version that the manifests support.
KUBERNETES = ("1.30", "1.37")
WITH_KEDA, WITHOUT_KEDA = "kubernetes", "kubernetes-without-keda"
# Files that are not applied: an example, and a part of another program's configuration.
SECRET, ADAPTER_RULE = "example-secret.yaml", "prometheus-adapter.yaml"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}

root, keda, crds = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
problems, unchecked = [], []


def require(holds, what):
    if not holds:
        problems.append(what)


class Strict(yaml.SafeLoader):
    """Refuses duplicate keys; YAML's own loader takes the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key in {key for key in keys if keys.count(key) > 1}:
            raise yaml.YAMLError(f"{key} is a duplicate key,{node.start_mark}")
        return super().construct_mapping(node, deep)


def documents(path, text=None):
    try:
        return [each for each in yaml.load_all(path.read_text() if text is None else text, Strict) if each]
    except yaml.YAMLError as error:
        sys.exit(f"wrong: {path}: {error}")


def report():
    """Prints the problems; exits if there are any."""
    for problem in problems:
        print(f"wrong: {problem}", file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} problems")


def closed(schema):
    """A CRD's schema that refuses what it does not name, as the API server does with strict field validation."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict) and not is_open:
        schema["additionalProperties"] = False
    return schema


def keda_schemas():
    schemas = {}
    for path in crds.glob("*.yaml"):
        crd = yaml.safe_load(path.read_text())["spec"]
        for version in crd["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            schemas[f"{crd['group']}/{version['name']}", crd["names"]["kind"]] = schema
    return schemas


def validate(where, document):
    """Validates an object against its published schema."""
    kind = document["apiVersion"], document["kind"]
    try:
        if not kind[0].startswith("keda.sh/"):
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)
        elif kind in schemas:
            jsonschema.Draft202012Validator(schemas[kind]).validate(document)
        else:
            unchecked.append(f"{kind[1]} against a schema ({where})")
    except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
        problems.append(f"{where}: {kind[1]}: {'.'.join(map(str, error.path))}: {error.message}")
    except kubernetes_validate.SchemaNotFoundError as error:
        problems.append(f"{where}: {error.message}")


def read(variant):
    """The objects of a variant's manifests by kind and name; checks that its kustomization applies them all."""
    folder, found = root / variant, {}
    kustomization = documents(folder / "kustomization.yaml")[0]
    listed = [name for name in kustomization["resources"] if not name.startswith("..")]
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", SECRET, ADAPTER_RULE}
    require(
        files == set(listed), f"{variant}/kustomization.yaml applies {sorted(listed)}, and there is {sorted(files)}"
    )
    for path in sorted(folder.glob("*.yaml")):
        if path.name in ("kustomization.yaml", ADAPTER_RULE):
            continue
        for document in documents(path):
            validate(path.relative_to(root), document)
            require(
                (document["kind"] == "Secret") == (path.name == SECRET), f"{path.name}: a Secret that is no example"
            )
            found[document["kind"], document["metadata"]["name"]] = document
    return found, kustomization


def render(variant, autoscaler):
    """Checks that a rendered kustomization is valid too, and scaled by one autoscaler."""
    kubectl = subprocess.run(["kubectl", "kustomize", root / variant], capture_output=True, text=True)
    if kubectl.returncode != 0:
        return problems.append(f"{variant}: {kubectl.stderr.strip()}")
    rendered = documents(f"{variant}, rendered", kubectl.stdout)
    for document in rendered:
        validate(f"{variant}, rendered", document)
    scaling = [each["kind"] for each in rendered if each["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")]
    require(scaling == [autoscaler], f"{variant} is scaled by {scaling}")


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * UNITS[unit]


def settings_of_the_service():
    table = pathlib.Path("src/config.rs").read_text().split("\nsettings! {\n", 1)[1].split("\n}\n", 1)[0]
    return dict(re.findall(r'^    (\w+): [^=\n]+ = "(.*)";$', table, re.M))


def check_settings(container, defaults):
    """Checks the environment's settings and references; returns the value of every setting, set or default."""
    for path in root.rglob("*"):
        if path.suffix in (".yaml", ".md"):
            for name in re.findall(r"\bSYMBOLON_(\w+)", path.read_text()):
                require(
                    name.lower() in defaults or name == "SERVICE_HOST", f"{path}: there is no setting {name.lower()}"
                )
    values, seen = dict(defaults), set()
    for variable in container["env"]:
        name, value = variable["name"], variable.get("value", "")
        require(name not in seen, f"{name} is set twice")
        for other in re.findall(r"\$\((\w+)\)", value):
            require(other in seen, f"{name} refers to {other}, which is not set before it")
        seen.add(name)
        if name.startswith("SYMBOLON_"):
            values[name.removeprefix("SYMBOLON_").lower()] = value
    for name in ("shards", "redis_url", "operator_token", "instance_id", "advertise_url", "operator_listen"):
        require(f"SYMBOLON_{name.upper()}" in seen, f"{name} is not set")
    return values


def check_secret(container, trigger_authentication, secret):
    """Checks that the example has exactly the keys that are referred to, and no real value."""
    used = [
        variable["valueFrom"]["secretKeyRef"]
        for variable in container["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    ]
    used += trigger_authentication["spec"]["secretTargetRef"]
    for reference in used:
        require(reference["name"] == secret["metadata"]["name"], f"there is no example of Secret {reference['name']}")
    keys = {reference["key"] for reference in used}
    require(keys == set(secret["stringData"]), f"Secret: used are {sorted(keys)}, given {sorted(secret['stringData'])}")
    for key, value in secret["stringData"].items():
        require("PASSWORD" in value or "REPLACE" in value, f"{SECRET}: {key} is not a placeholder")
    parameters = [each["parameter"] for each in trigger_authentication["spec"]["secretTargetRef"]]
    require(parameters == ["token"], f"KEDA's bearer authentication takes token, not {parameters}")


def check_pods(objects, deployment, container, settings, paths):
    """Checks that selectors find the pods, that ports fit, and that pods are locked down."""
    template, pod = deployment["spec"]["template"], deployment["spec"]["template"]["spec"]
    selectors = {"Deployment": deployment["spec"]["selector"]["matchLabels"]}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for (kind, name), other in objects.items():
        spec = other.get("spec", {})
        if kind == "Service":
            selectors[f"Service {name}"] = spec["selector"]
            targets = [port["targetPort"] for port in spec["ports"]]
            meant = ["operator"] if name.endswith("-operator") else ["http"]
            require(targets == meant and meant[0] in ports, f"Service {name} leads to {targets}, not to {meant}")
        elif kind == "PodDisruptionBudget":
            selectors[kind] = spec["selector"]["matchLabels"]
        elif kind == "NetworkPolicy":
            selectors[kind] = spec["podSelector"]["matchLabels"]
            allowed = [("from" in rule, port["port"]) for rule in spec["ingress"] for port in rule["ports"]]
            require(allowed == [(False, "http"), (True, "operator")], f"NetworkPolicy: allowed are {allowed}")
    for number, constraint in enumerate(pod["topologySpreadConstraints"]):
        selectors[f"topologySpreadConstraints {number}"] = constraint["labelSelector"]["matchLabels"]
    for what, labels in selectors.items():
        require(labels and labels.items() <= template["metadata"]["labels"].items(), f"{what}: no pod has {labels}")

    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        require(asked["port"] in ports and asked["path"] in paths, f"{probe}: nothing answers {asked}")
    listens = {"http": settings["listen"], "operator": settings["operator_listen"]}
    for name, address in listens.items():
        require(
            address == f"0.0.0.0:{ports.get(name)}", f"port {name} is {ports.get(name)}, and the service at {address}"
        )
    require(settings["advertise_url"].endswith(f":{ports.get('http')}"), "advertise_url has another port")
    scrape = {key.rpartition("/")[2]: value for key, value in template["metadata"]["annotations"].items()}
    require(scrape["port"] == str(ports.get("operator")) and scrape["path"] in paths, f"nothing to scrape at {scrape}")

    patience = seconds(settings["drain_delay"]) + seconds(settings["drain_timeout"])
    grace = pod["terminationGracePeriodSeconds"]
    require(grace > patience, f"terminationGracePeriodSeconds is {grace}, and a stop takes up to {patience:g} s")
    cpu = container["resources"].get("limits", {}).get("cpu")
    require(
        cpu or settings["scaling_cores"], "neither a limit for cpu nor scaling_cores: the node's cores would be taken"
    )
    update = deployment["spec"]["strategy"]["rollingUpdate"]
    require(update["maxUnavailable"] == 0, "an update takes instances away before there are new ones")

    user = int(re.search(r"^USER (\d+)", pathlib.Path("Dockerfile").read_text(), re.M)[1])
    expected = {"runAsNonRoot": True, "runAsUser": user, "seccompProfile": {"type": "RuntimeDefault"}}
    require(expected.items() <= pod["securityContext"].items(), "securityContext")
    expected = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    require(container["securityContext"] == expected, "the container's securityContext")
    for name in ("automountServiceAccountToken", "enableServiceLinks"):
        require(pod.get(name) is False, f"{name} is not false")


def check_scaled_object(objects, scaled, settings, namespace, api):
    spec = scaled["spec"]
    bounds = spec["minReplicaCount"], spec["maxReplicaCount"]
    check_bounds("ScaledObject", bounds, settings)
    require(("Deployment", spec["scaleTargetRef"]["name"]) in objects, "ScaledObject: there is no such Deployment")
    [trigger] = spec["triggers"]
    require(("TriggerAuthentication", trigger["authenticationRef"]["name"]) in objects, "no such TriggerAuthentication")
    metadata = trigger["metadata"]
    url = urlsplit(metadata["url"])
    service = objects.get(("Service", url.hostname.partition(".")[0]), {"spec": {"ports": []}})
    require(url.hostname.split(".")[1:] == [namespace, "svc"], f"{url.hostname} is not in namespace {namespace}")
    port = {port["port"]: port["targetPort"] for port in service["spec"]["ports"]}.get(url.port)
    require(port == "operator", f"{metadata['url']} leads to port {port}")
    require(url.path in api["paths"], f"{url.path} is no path of the service")
    fields = api["components"]["schemas"]["FleetDemand"]["properties"]
    require(metadata["valueLocation"] in fields, f"the demand has no {metadata['valueLocation']}")
    given = trigger["type"], trigger["metricType"], metadata["targetValue"], metadata["authMode"]
    require(given == ("metrics-api", "AverageValue", "1", "bearer"), f"ScaledObject: the trigger is {given}")
    require(
        "aggregateFromKubeServiceEndpoints" not in metadata, "every instance answers for the fleet: don't aggregate"
    )
    require(spec["fallback"]["behavior"] == "currentReplicas", "ScaledObject: a fallback that changes the number")


def check_autoscaler(objects, autoscaler, settings):
    spec = autoscaler["spec"]
    check_bounds("HorizontalPodAutoscaler", (spec["minReplicas"], spec["maxReplicas"]), settings)
    target = spec["scaleTargetRef"]
    require((target["kind"], target["name"]) in objects, "HorizontalPodAutoscaler: there is no such Deployment")
    [metric] = spec["metrics"]
    given = metric["type"], metric["external"]["target"]
    require(given == ("External", {"type": "AverageValue", "averageValue": "1"}), f"the metric is taken as {given}")
    metric = metric["external"]["metric"]["name"]
    gauges = re.findall(r'Sample::gauge\(\s*"(\w+)"', pathlib.Path("src/app/metrics.rs").read_text())
    require(metric.removeprefix("symbolon_") in gauges, f"there is no metric {metric}")
    [rule] = documents(root / WITHOUT_KEDA / ADAPTER_RULE)[0]["externalRules"]
    require(rule["seriesQuery"] == metric, f"the adapter's rule is for {rule['seriesQuery']}, not {metric}")
    require(
        rule["metricsQuery"].startswith("max("), "every instance answers for the fleet: the adapter must not add up"
    )


def check_bounds(what, bounds, settings):
    meant = int(settings["scaling_min"]), int(settings["scaling_max"])
    require(bounds == meant, f"{what}: from {bounds[0]} to {bounds[1]}, and scaling_min and scaling_max are {meant}")
    require(bounds[0] >= 2, f"{what}: fewer than two")


schemas = keda_schemas()
objects, kustomization = read(WITH_KEDA)
autoscalers, other = read(WITHOUT_KEDA)
if shutil.which("kubectl"):
    render(WITH_KEDA, "ScaledObject")
    render(WITHOUT_KEDA, "HorizontalPodAutoscaler")
else:
    unchecked.append("the kustomizations, as there is no kubectl")
report()

namespace = kustomization["namespace"]
require(("Namespace", namespace) in objects and other["namespace"] == namespace, f"there is no namespace {namespace}")
api = json.loads(pathlib.Path("openapi/openapi.json").read_text())
deployment, secret = objects["Deployment", "symbolon"], objects["Secret", "symbolon"]
require("replicas" not in deployment["spec"], "Deployment: replicas would undo the autoscaler's at every apply")
[container] = deployment["spec"]["template"]["spec"]["containers"]
settings = check_settings(container, settings_of_the_service())
check_secret(container, objects["TriggerAuthentication", "symbolon-operator"], secret)
check_pods(objects, deployment, container, settings, api["paths"])
check_scaled_object(objects, objects["ScaledObject", "symbolon"], settings, namespace, api)
check_autoscaler(objects, autoscalers["HorizontalPodAutoscaler", "symbolon"], settings)

report()
against = f"Kubernetes {' and '.join(KUBERNETES)}" + (f" and KEDA {keda}" if schemas else "")
print(f"{len(objects) + len(autoscalers)} objects are as {against} and the service have them")
if unchecked:
    print(f"NOT checked: {'; '.join(unchecked)}")
