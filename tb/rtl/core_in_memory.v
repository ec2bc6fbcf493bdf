// A core, or several on one port (module `ZAPCORE`), beside their memory; the ports are those that a
// host sees. `violations` counts a burst under way when all interrupts are high.
//
// The clock is made here, so that the simulator calls the bench only for events that it waits for.
// Reset and the memory's settings are registered, one cycle late: Verilator evaluates at every edge
// whatever depends combinationally on an input of the top module, and that would be the whole core.

module core_in_memory #(
    parameter CORES = 1,
    parameter CORE_BITS = 0,
    parameter DATA_BITS = 64,
    parameter ADDRESS_BITS = 32,
    parameter WORD_BITS = 19
) (
    output reg clk,
    input rst,
    input [31:0] latency,
    input [7:0] stall,
    input [63:0] origin,
    input [31:0] access_last,
    input [31:0] fault_first,
    input [31:0] fault_last,
    input [31:0] write_first,
    input [31:0] write_last,
    input load,
    input dump,
    input [31:0] file_first,
    input [31:0] file_last,
    output [31:0] violations,
    output [31:0] beats_read,
    output [31:0] beats_written,
    output [CORES-1:0] irq,

    input [CORE_BITS+11:0] s_axil_awaddr,
    input s_axil_awvalid,
    output s_axil_awready,
    input [31:0] s_axil_wdata,
    input s_axil_wvalid,
    output s_axil_wready,
    output [1:0] s_axil_bresp,
    output s_axil_bvalid,
    input s_axil_bready,
    input [CORE_BITS+11:0] s_axil_araddr,
    input s_axil_arvalid,
    output s_axil_arready,
    output [31:0] s_axil_rdata,
    output [1:0] s_axil_rresp,
    output s_axil_rvalid,
    input s_axil_rready
);
  initial clk = 0;
  always #5 clk = ~clk;

  reg rst_now;
  reg [31:0] latency_now;
  reg [7:0] stall_now;
  reg [63:0] origin_now;
  reg [31:0] access_to, fault_from, fault_to, write_from, write_to;
  always @(posedge clk) begin
    rst_now <= rst;
    latency_now <= latency;
    stall_now <= stall;
    origin_now <= origin;
    access_to <= access_last;
    {fault_from, fault_to} <= {fault_first, fault_last};
    {write_from, write_to} <= {write_first, write_last};
  end

  wire [CORE_BITS+1:0] arid, rid, awid, bid;
  wire [1:0] arburst, awburst, rresp, bresp;
  wire [ADDRESS_BITS-1:0] araddr, awaddr;
  // The memory begins at `origin`. What lies elsewhere becomes its last page, which it lacks.
  wire [63:0] ar_offset = {{(64 - ADDRESS_BITS) {1'b0}}, araddr} - origin_now;
  wire [63:0] aw_offset = {{(64 - ADDRESS_BITS) {1'b0}}, awaddr} - origin_now;
  wire [31:0] ar_in_memory = |ar_offset[63:32] ? {20'hFFFFF, araddr[11:0]} : ar_offset[31:0];
  wire [31:0] aw_in_memory = |aw_offset[63:32] ? {20'hFFFFF, awaddr[11:0]} : aw_offset[31:0];
  wire [7:0] arlen, awlen;
  wire [2:0] arsize, awsize;
  wire [DATA_BITS-1:0] rdata, wdata;
  wire [DATA_BITS/8-1:0] wstrb;
  wire arvalid, arready, rlast, rvalid, rready, awvalid, awready;
  wire wlast, wvalid, wready, bvalid, bready;

  `ZAPCORE core (
      .clk(clk),
      .rst(rst_now),
      .irq(irq),
      .s_axil_awaddr(s_axil_awaddr),
      .s_axil_awprot(3'd0),
      .s_axil_awvalid(s_axil_awvalid),
      .s_axil_awready(s_axil_awready),
      .s_axil_wdata(s_axil_wdata),
      .s_axil_wstrb(4'b1111),
      .s_axil_wvalid(s_axil_wvalid),
      .s_axil_wready(s_axil_wready),
      .s_axil_bresp(s_axil_bresp),
      .s_axil_bvalid(s_axil_bvalid),
      .s_axil_bready(s_axil_bready),
      .s_axil_araddr(s_axil_araddr),
      .s_axil_arprot(3'd0),
      .s_axil_arvalid(s_axil_arvalid),
      .s_axil_arready(s_axil_arready),
      .s_axil_rdata(s_axil_rdata),
      .s_axil_rresp(s_axil_rresp),
      .s_axil_rvalid(s_axil_rvalid),
      .s_axil_rready(s_axil_rready),
      .m_axi_arid(arid),
      .m_axi_araddr(araddr),
      .m_axi_arlen(arlen),
      .m_axi_arsize(arsize),
      .m_axi_arburst(arburst),
      .m_axi_arlock(),
      .m_axi_arcache(),
      .m_axi_arprot(),
      .m_axi_arqos(),
      .m_axi_arregion(),
      .m_axi_arvalid(arvalid),
      .m_axi_arready(arready),
      .m_axi_rid(rid),
      .m_axi_rdata(rdata),
      .m_axi_rresp(rresp),
      .m_axi_rlast(rlast),
      .m_axi_rvalid(rvalid),
      .m_axi_rready(rready),
      .m_axi_awid(awid),
      .m_axi_awaddr(awaddr),
      .m_axi_awlen(awlen),
      .m_axi_awsize(awsize),
      .m_axi_awburst(awburst),
      .m_axi_awlock(),
      .m_axi_awcache(),
      .m_axi_awprot(),
      .m_axi_awqos(),
      .m_axi_awregion(),
      .m_axi_awvalid(awvalid),
      .m_axi_awready(awready),
      .m_axi_wdata(wdata),
      .m_axi_wstrb(wstrb),
      .m_axi_wlast(wlast),
      .m_axi_wvalid(wvalid),
      .m_axi_wready(wready),
      .m_axi_bid(bid),
      .m_axi_bresp(bresp),
      .m_axi_bvalid(bvalid),
      .m_axi_bready(bready)
  );

  axi_memory #(
      .DATA_BITS(DATA_BITS),
      .ID_BITS(CORE_BITS + 2),
      .WORD_BITS(WORD_BITS),
      .MOST_WRITES(16 * CORES),
      .QUEUE_BITS(CORE_BITS + 4)
  ) memory (
      .clk(clk),
      .rst(rst_now),
      .resting(&irq),
      .latency(latency_now),
      .stall(stall_now),
      .access_last(access_to),
      .fault_first(fault_from),
      .fault_last(fault_to),
      .write_first(write_from),
      .write_last(write_to),
      .load(load),
      .dump(dump),
      .file_first(file_first),
      .file_last(file_last),
      .violations(violations),
      .beats_read(beats_read),
      .beats_written(beats_written),
      .arid(arid),
      .araddr(ar_in_memory),
      .arlen(arlen),
      .arsize(arsize),
      .arburst(arburst),
      .arvalid(arvalid),
      .arready(arready),
      .rid(rid),
      .rdata(rdata),
      .rresp(rresp),
      .rlast(rlast),
      .rvalid(rvalid),
      .rready(rready),
      .awid(awid),
      .awaddr(aw_in_memory),
      .awlen(awlen),
      .awsize(awsize),
      .awburst(awburst),
      .awvalid(awvalid),
      .awready(awready),
      .wdata(wdata),
      .wstrb(wstrb),
      .wlast(wlast),
      .wvalid(wvalid),
      .wready(wready),
      .bid(bid),
      .bresp(bresp),
      .bvalid(bvalid),
      .bready(bready)
  );
endmodule
