# kind: blocked
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(5)
        open("{marker}", "w").close()
