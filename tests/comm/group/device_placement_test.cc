#include "comm/group/device_placement.h"

#include <gtest/gtest.h>

#include "comm/group/nccl_transport.h"

namespace batchmax::comm {
namespace {

TEST(DevicePlacement, RanksOfOneGpuNeedAHostIdEach) {
  EXPECT_EQ(placement_fault({{"m", "0000:01:00.0", ""}}), "");
  EXPECT_EQ(
      placement_fault({{"m", "0000:01:00.0", ""}, {"m", "0000:02:00.0", ""}, {"n", "0000:01:00.0", ""}}), "");
  EXPECT_EQ(placement_fault({{"m", "0000:01:00.0", "0"}, {"m", "0000:01:00.0", "1"}}), "");
  const std::string fault =
      placement_fault({{"m", "0000:01:00.0", "a"}, {"m", "0000:02:00.0", "a"}, {"m", "0000:02:00.0", "a"}});
  EXPECT_EQ(fault.find("ranks 1 and 2 of this group share the GPU at 0000:02:00.0"), 0U) << fault;
  EXPECT_NE(fault.find("NCCL_HOSTID"), std::string::npos);
}

TEST(NcclTransport, ReadsWhatChannelsGoBy) {
  EXPECT_EQ(transports_in(""), "");
  EXPECT_EQ(transports_in("host:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM/read\n"
                          "host:1:2 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[1] via P2P/CUMEM/read\n"
                          "host:1:2 [0] NCCL INFO NET/Socket : Using [0]lo:127.0.0.1<0>\n"),
            "P2P/CUMEM");
  EXPECT_EQ(transports_in("NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/Socket/0\n"
                          "NCCL INFO Channel 00 : 0[0] -> 1[0] via SHM/direct/direct"),
            "NET/Socket, SHM/direct");
}

}  // namespace
}  // namespace batchmax::comm
