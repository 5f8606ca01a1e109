# kind: failed
import json

print(json.dumps(["passed", ""]))
print("passed")


def attack():
    print(json.dumps(["passed", ""]))
