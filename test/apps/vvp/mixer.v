// Four linear-feedback registers of different widths, mixed every clock, summed into a signature that is printed now and then.
`timescale 1ns / 1ps
module lfsr #(parameter WIDTH = 16, parameter [63:0] TAPS = 64'hB400) (input clk, input reset, output reg [WIDTH-1:0] q);
  always @(posedge clk)
    if (reset) q <= 1;
    else q <= (q >> 1) ^ (q[0] ? TAPS[WIDTH-1:0] : {WIDTH{1'b0}});
endmodule

module mixer;
  reg clk = 0, reset = 1;
  wire [15:0] a;
  wire [23:0] b;
  wire [31:0] c;
  wire [63:0] d;
  reg [63:0] signature = 0;
  reg [31:0] memory [0:1023];
  integer cycle = 0, cycles = 1000, i;

  lfsr #(16, 64'hB400) la(clk, reset, a);
  lfsr #(24, 64'hE10000) lb(clk, reset, b);
  lfsr #(32, 64'h80200003) lc(clk, reset, c);
  lfsr #(64, 64'hD800000000000000) ld(clk, reset, d);

  always #5 clk = ~clk;

  initial begin
    if (!$value$plusargs("cycles=%d", cycles)) cycles = 1000;
    for (i = 0; i < 1024; i = i + 1) memory[i] = i * 32'h9E3779B1;
    $dumpfile("mixer.vcd");
    $dumpvars(1, a);
    $dumplimit(20000000);
    #22 reset = 0;
  end

  always @(negedge clk) if (!reset) begin
    memory[a[9:0]] <= memory[b[9:0]] + c;
    signature <= {signature[62:0], signature[63]} ^ d ^ {32'b0, memory[c[9:0]]};
    cycle <= cycle + 1;
    if (cycle % 5000 == 0) $display("%0t cycle %0d signature %h", $time, cycle, signature);
    if (cycle == cycles) begin
      $display("end of simulation: %h", signature);
      $finish;
    end
  end
endmodule
