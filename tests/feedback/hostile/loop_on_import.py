# kind: timeout
while True:
    pass
