# kind: blocked
import ctypes
import mmap


def attack():
    if "{machine}" != "x86_64":
        return ctypes.CDLL(None).syscall(198, 2, 1, 0)
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # mov eax, 41; mov edi, 2; mov esi, 1; xor edx, edx; syscall; ret
    page.write(b"\xb8\x29\0\0\0\xbf\x02\0\0\0\xbe\x01\0\0\0\x31\xd2\x0f\x05\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
