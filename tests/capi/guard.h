/* Memory that ends at a page nobody may touch: reading or writing one byte too many is a fault, in code
 * that no sanitizer has seen too. */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned char *guarded(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (len + page - 1) / page;
    unsigned char *base = mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + pages * page, page, PROT_NONE) != 0) {
        perror("mmap");
        exit(2);
    }
    return base + pages * page - len;
}

/* The size that was asked for finds the beginning again. */
static void unguard(unsigned char *at, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (len + page - 1) / page;
    munmap(at + len - pages * page, (pages + 1) * page);
}
